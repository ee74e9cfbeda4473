"""ImageNet VID, and the stills of DET, as a tfds data set: manual download.

A record is one frame, its JPEG bytes as they are in ILSVRC2015. Records are in
order, video after video; which records are a video's, the metadata say.
"""

import os
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tqdm import tqdm

from deltax.data import images
from deltax.data.folders import imagenet_vid_tree
from deltax.data.prepared import prepared

VARIABLE = 'DELTAX_IMAGENET_VID'


class Stretch(NamedTuple):
  """Consecutive records of one video.

  Attributes:
    name: of the video.
    first: number of its first record.
    labelled: bool `[frames]`, whether a frame has any box.
  """

  name: str
  first: int
  labelled: np.ndarray


class ImagenetVid(tfds.core.GeneratorBasedBuilder):
  """30 kinds of animals and vehicles in videos, boxes and tracks every frame.

  Splits: 'train' and 'val' are VID's, 'stills' are those of DET that have the
  30 classes. Features of a record: video and frame number, frame, boxes (x0,
  y0, x1, y1 in pixels, x1 and y1 exclusive), classes, tracks, occluded,
  generated. Metadata: '<split>' is a list of a video's name and a string with
  1 for every frame that has boxes and 0 for every other.

  The data set has a copy of every picture: the root is not read any more.

  Source: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge,
    IJCV 2015.
  """

  VERSION = tfds.core.Version('1.0.0')
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    'Unpack ILSVRC2015_VID.tar.gz, and ILSVRC2015_DET.tar.gz for the stills, '
    'into one folder, so that it has Data/VID, Annotations/VID (and Data/DET, '
    f'Annotations/DET, ImageSets/VID/{imagenet_vid_tree.STILLS}).'
  )

  def _info(self) -> tfds.core.DatasetInfo:
    tensor = tfds.features.Tensor
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.__doc__,
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(),
      features=tfds.features.FeaturesDict(
        {
          'video': tfds.features.Text(),
          'index': np.int64,
          'frame': tfds.features.Image(encoding_format='jpeg'),
          'boxes': tensor(shape=(None, 4), dtype=np.float32),
          'classes': tensor(shape=(None,), dtype=np.int32),
          'tracks': tensor(shape=(None,), dtype=np.int32),
          'occluded': tensor(shape=(None,), dtype=np.bool_),
          'generated': tensor(shape=(None,), dtype=np.bool_),
        }
      ),
    )

  def _split_generators(self, dl_manager):
    root = dl_manager.manual_dir
    splits = {
      'train': imagenet_vid_tree.find_videos(root, 'train'),
      'val': imagenet_vid_tree.find_videos(root, 'val'),
      'stills': imagenet_vid_tree.find_stills(root),
    }
    return {
      split: self._generate_examples(split, videos)
      for split, videos in splits.items()
      if videos
    }

  def _generate_examples(self, split, videos):
    number, outside, listed = 0, 0, []
    for video in tqdm(videos, f'imagenet_vid: {split}', unit='video'):
      labelled = ''
      for index, (picture, truth) in enumerate(video.files()):
        data, size = imagenet_vid_tree.read_picture(picture)
        objects = imagenet_vid_tree.read_objects(truth, size)
        outside += objects.outside
        labelled += '1' if len(objects.boxes) else '0'
        record = objects._asdict()
        del record['outside']
        record |= {'video': video.name, 'index': index, 'frame': data}
        yield number, record
        number += 1
      listed.append([video.name, labelled])
    self.info.metadata[split] = listed
    if outside:
      logging.error(  # less is not shown while tfds builds
        '%s: %d boxes lie outside of their pictures and are left out',
        split,
        outside,
      )


def prepare(root=None, data_dir=None) -> ImagenetVid:
  """The builder, its files written if they are not there yet.

  Args:
    root: the unpacked ILSVRC2015; None for the environment's
      DELTAX_IMAGENET_VID. Not needed any more once the data set is built.
    data_dir: where data sets live; see `prepared`.

  Raises:
    FileNotFoundError: files are missing; the message names them.
    ValueError: no root is given, or files are broken.
  """

  def find_root():
    folder = os.path.abspath(images.find_root(root, VARIABLE))
    if not os.path.isdir(os.path.join(folder, 'Data', 'VID')):
      wanted = ImagenetVid.MANUAL_DOWNLOAD_INSTRUCTIONS
      raise FileNotFoundError(f'{folder}: expected Data/VID. {wanted}')
    return folder

  return prepared(ImagenetVid, data_dir, find_manual_dir=find_root)


def stretches(builder: ImagenetVid, split: str) -> list[Stretch]:
  """The videos of a split in order, and where their records are."""
  videos, first = [], 0
  for name, flags in builder.info.metadata[split]:
    labelled = np.array([flag == '1' for flag in flags])
    videos.append(Stretch(name, first, labelled))
    first += len(flags)
  return videos
