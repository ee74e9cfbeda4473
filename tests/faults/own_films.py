"""Small videos that move, and `own_videos` of them, for tests."""

import cv2
import numpy as np

from deltax.data import make_dataset
from deltax.data.own import prepare
from deltax.data.video.files import write_video
from deltax.data.video.frames import read_frames

SIZE = 48, 64


def scene(seed, count, step=1):
  """uint8 `[count, 48, 64, 3]`: a smooth picture that moves sideways."""
  rng = np.random.default_rng(seed)
  small = rng.uniform(0, 255, (6, 40, 3)).astype(np.float32)
  wide = cv2.resize(small, (64 + 512, 48), interpolation=cv2.INTER_CUBIC)
  wide = np.clip(wide, 0, 255).astype(np.uint8)
  starts = (step * np.arange(count)) % 512
  return np.stack([wide[:, k : k + 64] for k in starts])


def counting(count):
  """Frames of one grey each, 5 levels brighter from one to the next."""
  greys = 5 * np.arange(count, dtype=np.uint8)
  return np.broadcast_to(greys[:, None, None, None], (count, *SIZE, 3))


def films(path):
  """Three videos, one with a cut after its 20th frame."""
  cut = np.concatenate([scene(0, 20), scene(1, 25)])
  write_video(path / 'cut.mp4', cut, 25)
  write_video(path / 'long.mp4', scene(2, 60), 25)
  write_video(path / 'below' / 'other.mkv', scene(3, 30), 10)
  return path


def make(videos, home, split='train', **options):
  options = {'batch_size': 4, 'train': split == 'train', **options}
  return make_dataset(
    *('own_videos', split),
    **{'videos': videos, 'size': SIZE, 'data_dir': home, **options},
  )


def at_times(path, times):
  """The frames of a video of 25 a second at some times."""
  frames = np.stack(list(read_frames(path)))
  return frames[np.rint(25 * times).astype(int)]


def prepared(videos, home, **options):
  how = {'size': SIZE, 'fit': 'cover', 'rate': None, 'max_bytes': 1 << 30}
  return prepare.prepare([videos], home, **how | options)
