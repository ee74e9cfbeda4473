"""`deltax run`: what a trained network sees, drawn into a video."""

import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import odd_videos
import pytest
import torch_states

from deltax import commands, delta, models, training
from deltax.boxes import Detections
from deltax.data import describe
from deltax.data.video.files import read_video, write_video
from deltax.delta.run.streamer import Streamer
from deltax.report.pictures import overlay
from deltax.tasks.detection.detectors import make_detector
from deltax.tasks.video import viewer as run_video

SPEC = {'candidates': (('low_rank', 2, 'out'),)}
SEGMENTATION = {
  'task': {
    'name': 'segmentation',
    'model': 'ddrnet23_tiny',
    'num_classes': 11,
    'delta': {'spec': SPEC},
  },
  'data': {'name': 'street', 'options': {'size': (64, 128)}, 'train': {}},
}
DETECTION = {
  'task': {
    'name': 'detection',
    'model': 'ddrnet23_det_tiny',
    'num_classes': 3,
    'size': (64, 64),
    'detector': {'candidates': 40, 'count': 5},
    'delta': {'spec': SPEC},
  },
  'data': {'name': 'street_boxes', 'options': {}, 'train': {}},
}
RATE = 12.5


def trained(net):
  """Parameters of a delta network, drawn: as a run holds them."""
  frame = jnp.zeros((1, 64, 64, 3))
  variables = jax.eval_shape(net.init, jax.random.key(0), frame)
  distilled = delta.distill(net, delta.make_spec(**SPEC))
  params = jax.eval_shape(distilled.init, jax.random.key(0), variables, frame)
  params = torch_states.drawn(params)
  teacher = params['teacher']
  return (
    {**params, 'teacher': teacher['params']},
    {'batch_stats': teacher['batch_stats']},
  )


def save_run(folder, params, model_state, config):
  state = training.TrainState(
    jnp.zeros((), jnp.int32), params, model_state, (), jax.random.key(0)
  )
  with training.Checkpoints(folder, metadata=config) as checkpoints:
    checkpoints.save(state)


@pytest.fixture(scope='module')
def segmentation():
  return trained(models.create('ddrnet23_tiny', num_classes=11))


@pytest.fixture(scope='module')
def folder(tmp_path_factory, segmentation):
  """Runs of all kinds, and videos, whole and not."""
  folder = tmp_path_factory.mktemp('run')
  save_run(folder / 'delta', *segmentation, SEGMENTATION)
  teacher = {**SEGMENTATION, 'task': {**SEGMENTATION['task'], 'delta': None}}
  save_run(folder / 'teacher', {}, {}, teacher)
  task = {'name': 'similarity', 'network': 'coarse', 'options': {}}
  save_run(folder / 'retrieval', {}, {}, {**SEGMENTATION, 'task': task})
  unsized = {**SEGMENTATION, 'data': {'name': 'street'}}
  save_run(folder / 'unsized', {}, {}, unsized)
  write_video(folder / 'film.mkv', film(11), RATE)
  write_video(folder / 'cut.mkv', film(30), RATE)
  whole = (folder / 'cut.mkv').read_bytes()
  (folder / 'cut.mkv').write_bytes(whole[: len(whole) // 2])
  (folder / 'text.mp4').write_text('no video')
  return folder


def film(count, shape=(96, 128)):
  """Bright frames that change and compress well."""
  rng = np.random.default_rng(0)
  rows, columns = (-(-side // 16) for side in shape)
  small = rng.integers(150, 256, (count, rows, columns, 3), np.uint8)
  return small.repeat(16, 1).repeat(16, 2)[:, : shape[0], : shape[1]]


def everything(path):
  return read_video(path, rate=1e9, short_side=None, crop=None).frames


def darkened(frames):
  """Which frames have a mark in their upper right corner."""
  return (frames[:, 2:10, -16:].max(-1) < 120).mean((1, 2)) > 0.3


def test_a_video_is_written_with_key_frames_marked(folder, tmp_path, capsys):
  out = tmp_path / 'new' / 'annotated.mp4'
  commands.main(
    [
      *('run', str(folder / 'delta'), str(folder / 'film.mkv')),
      *('--out', str(out), '--interval', '3', '--size', '64x64'),
      *('--overlay', '0', '--compare'),
    ]
  )
  written, source = everything(out), everything(folder / 'film.mkv')
  assert written.shape == (11, 96, 128, 3)
  assert np.flatnonzero(darkened(written)).tolist() == [0, 3, 6, 9]
  assert not darkened(source).any()
  # Without colours over them, the frames stay as they are below the mark.
  off = np.abs(written[:, 32:].astype(int) - source[:, 32:])
  assert off.mean() < 3
  video = read_video(out, rate=1e9, short_side=None, crop=None)
  np.testing.assert_allclose(np.diff(video.times), 1 / RATE, atol=1e-3)
  told = capsys.readouterr().out
  assert '11 frames of 96x128, seen at 64x64, a key frame every 3' in told
  number = r'\d+\.\d'
  assert re.search(rf'alone: the teacher {number} ms .* later frames', told)
  assert re.search(rf'network: {number} frames per second; key frames', told)
  assert re.search(rf'end to end: {number} frames per second', told)
  assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize('kind', ['variable', 'fast', 'damaged'])
def test_frames_keep_their_times(folder, tmp_path, kind, capsys):
  """The film is as long as it was, and what was lost on the way is told."""
  path, out = tmp_path / 'film.mp4', tmp_path / '12:30.mkv'
  times = {
    'variable': [*np.arange(20) / 30, *range(1, 8)],
    'fast': np.arange(27) / 240,
    'damaged': np.arange(27) / 10,
  }[kind]
  red = np.where(np.equal(times, 4)[:, None, None, None], (255, 0, 0), 90)
  frames = film(27) if kind == 'damaged' else red + np.zeros((64, 64, 3))
  rate = {'variable': 30, 'fast': 240, 'damaged': 10}[kind]
  odd_videos.write(path, frames.astype(np.uint8), rate, times=times)
  if kind == 'damaged':
    odd_videos.damaged(path, path)
  commands.main(
    [
      *('run', str(folder / 'delta'), str(path), '--out', str(out)),
      *('--size', '64x64', '--overlay', '0'),
    ]
  )
  written = read_video(out, rate=1e9, short_side=None, crop=None)
  read = read_video(path, rate=1e9, short_side=None, crop=None)
  np.testing.assert_allclose(written.times, read.times, atol=2e-3)
  assert written.duration == pytest.approx(read.duration, abs=0.05)
  if kind == 'variable':
    is_red = np.subtract(*written.frames[:, -9:, 2:9].mean((1, 2)).T[:2]) > 80
    assert written.times[is_red].tolist() == [4.0]
  told = f'film.mp4: {read.damaged} damaged frames' in capsys.readouterr().out
  assert told == (kind == 'damaged') == (read.damaged > 0)


@pytest.mark.parametrize('other', ['onnx', 'litert'])
def test_another_engine_draws_the_same_video(other, folder, tmp_path, capsys):
  drawn = []
  for engine in ('xla', other):
    out = tmp_path / f'{engine}.mkv'
    commands.main(
      [
        *('run', str(folder / 'delta'), str(folder / 'film.mkv')),
        *('--out', str(out), '--interval', '3', '--engine', engine),
        *('--size', '64x64', '--compare'),
      ]
    )
    drawn.append(everything(out).astype(int))
  assert 'key frames' in capsys.readouterr().out
  # Classes that are equally likely but for rounding may fall either way.
  assert np.mean(np.abs(drawn[0] - drawn[1]) > 8) < 0.01


def test_an_engine_that_is_not_installed_is_one_sentence(
  folder, tmp_path, capsys, monkeypatch
):
  monkeypatch.setitem(sys.modules, 'onnxruntime', None)
  arguments = ['run', str(folder / 'delta'), str(folder / 'film.mkv')]
  out = tmp_path / 'out.mp4'
  with pytest.raises(SystemExit) as stopped:
    commands.main([*arguments, '--out', str(out), '--engine', 'onnx'])
  assert stopped.value.code == 1
  error = capsys.readouterr().err
  assert "the engine 'onnx' needs the package onnxruntime" in error
  assert 'Traceback' not in error and not out.exists()


def test_the_teacher_on_every_frame_marks_none(folder, tmp_path, capsys):
  out = tmp_path / 'annotated.mp4'
  commands.main(
    [
      *('run', str(folder / 'delta'), str(folder / 'film.mkv')),
      *('--out', str(out), '--every-frame', '--size', '64x64'),
    ]
  )
  assert not darkened(everything(out)).any()
  told = capsys.readouterr().out
  assert 'the teacher on every frame' in told
  assert 'later frames' not in told


@pytest.mark.parametrize(
  ('model', 'video', 'options', 'message'),
  [
    ('nowhere', 'film.mkv', [], 'no checkpoint in'),
    ('teacher', 'film.mkv', [], 'teacher holds no delta network'),
    ('retrieval', 'film.mkv', [], 'retrieval holds no delta network'),
    ('unsized', 'film.mkv', [], 'does not tell the size of its frames'),
    ('delta', 'nowhere.mp4', [], 'nowhere.mp4: no such file'),
    ('delta', 'text.mp4', [], 'text.mp4: no readable video'),
    ('delta', 'film.mkv', ['--size', '64'], 'rows x columns such as'),
    ('delta', 'film.mkv', ['--size', '33x47'], 'frames of 33x47; expected'),
    ('delta', 'film.mkv', ['--overlay', '2'], '--overlay is 0 to 1, got 2'),
    ('delta', 'film.mkv', ['--interval', '0'], 'at least 1, got 0'),
  ],
)
def test_what_cannot_be_run_is_refused(
  model, video, options, message, folder, tmp_path, capsys
):
  out = tmp_path / 'annotated.mp4'
  with pytest.raises(SystemExit):
    commands.main(
      ['run', str(folder / model), str(folder / video), '--out', str(out)]
      + options
    )
  told = capsys.readouterr().err
  assert message in told
  assert told.count('\n') == 1
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ('name', 'video', 'options', 'message'),
  [
    ('old.mp4', 'cut.mkv', ['--force'], 'deltax run: {video}: the file is cut'),
    ('old.mp4', 'film.mkv', [], 'old.mp4 is there already; --force'),
    ('new.xyz', 'film.mkv', [], 'new.xyz: cannot write H.264'),
  ],
)
def test_a_failure_leaves_the_folder_as_it_was(
  name, video, options, message, folder, tmp_path, capsys
):
  (tmp_path / 'old.mp4').write_text('precious')
  video = folder / video
  with pytest.raises(SystemExit):
    commands.main(
      [
        *('run', str(folder / 'delta'), str(video), '--size', '64x64'),
        *('--out', str(tmp_path / name), *options),
      ]
    )
  assert message.format(video=video) in capsys.readouterr().err
  assert [path.name for path in tmp_path.iterdir()] == ['old.mp4']
  assert (tmp_path / 'old.mp4').read_text() == 'precious'


def test_every_frame_is_drawn_with_its_own_output():
  """Reading, network and drawing run apart, but no frame is another's."""

  def keyframe(params, frame):
    return frame, frame.astype(jnp.int32).sum((1, 2, 3)) + params

  def step(params, carry, frame):
    _, out = keyframe(params, frame)
    return carry, out - carry.astype(jnp.int32).sum((1, 2, 3))

  viewer = run_video.Viewer(
    delta.Frozen(1, keyframe, step, None),
    (4, 4),
    fit=lambda frame: frame[:4, :4],
    draw=lambda *shot: shot,
  )
  frames, times = film(23, (16, 16)), []
  streamer = Streamer(viewer.frozen, interval=3)
  shots = run_video.annotate(iter(frames), viewer, streamer, times=times)
  sums = frames[:, :4, :4].astype(int).sum((1, 2, 3))
  for t, (frame, out, is_key) in enumerate(shots):
    np.testing.assert_array_equal(frame, frames[t])
    assert out == 1 + sums[t] - (0 if t % 3 == 0 else sums[t - t % 3])
    assert is_key == (t % 3 == 0)
  assert t == 22
  assert [is_key for is_key, _ in times] == [t % 3 == 0 for t in range(23)]
  assert all(ms > 0 for _, ms in times)
  unmarked = run_video.annotate(
    frames[:2], viewer, Streamer(viewer.frozen), times=[], mark=False
  )
  assert [is_key for _, _, is_key in unmarked] == [False, False]


def test_classes_are_laid_over_frames_of_any_size(segmentation):
  shape = 47, 85
  viewer = run_video.make_viewer(
    *segmentation,
    config=SEGMENTATION,
    size=(64, 64),
    shape=shape,
    share=0.25,
  )
  (frame,) = film(1, shape)
  assert viewer.fit(frame).shape == (64, 64, 3)
  logits = np.zeros((8, 8, 11), np.float32)
  classes = np.array([[3, 9], [10, 0]]).repeat(4, 0).repeat(4, 1)
  np.put_along_axis(logits, classes[..., None], 5.0, -1)
  drawn = viewer.draw(frame, logits, True)
  palette = describe('street').palette.astype(float)
  corners = {(0, 0): 3, (30, 0): 10, (30, 60): 0}
  for (y, x), k in corners.items():
    part = slice(y, y + 16), slice(x, x + 24)
    expected = 0.75 * frame[part] + 0.25 * palette[k]
    assert np.abs(drawn[part] - expected).max() <= 1
  assert darkened(drawn[None])[0]
  assert not darkened(viewer.draw(frame, logits, False)[None])[0]
  # H.264 wants even sides: the last row and column come twice.
  assert drawn.shape == (48, 86, 3)
  np.testing.assert_array_equal(drawn[-1], drawn[-2])
  np.testing.assert_array_equal(drawn[:, -1], drawn[:, -2])


def test_boxes_are_where_they_are_in_the_video(monkeypatch):
  """Frames keep their proportions; boxes come back to the video's pixels."""
  task = DETECTION['task']
  detector = make_detector(
    task['model'], num_classes=3, size=task['size'], **task['detector']
  )
  params, model_state = trained(detector.net)
  shape = 40, 128
  viewer = run_video.make_viewer(
    params, model_state, config=DETECTION, size=(64, 64), shape=shape
  )
  frame = film(1, shape)[0]
  fitted = viewer.fit(frame)
  assert (fitted[20:] == (124, 116, 104)).all()
  halves = frame.reshape(20, 2, 64, 2, 3).mean((1, 3))
  assert np.abs(fitted[:20] - halves).max() <= 1
  drawn = []
  monkeypatch.setattr(
    overlay, 'boxes', lambda frame, found, **_: drawn.append(found) or frame
  )
  out = Streamer(viewer.frozen).push(fitted)
  assert viewer.draw(frame, out, False).shape == (*shape, 3)
  variables = {'params': params['teacher'], **model_state}
  found = jax.jit(detector.detect)(
    variables,
    jax.tree.map(lambda x: x[None], out),
    jnp.array([[20.0, 64.0]]),
  )
  assert set(drawn[0]) == set(Detections._fields)
  np.testing.assert_allclose(drawn[0]['boxes'], 2 * found.boxes[0], atol=1e-3)
  np.testing.assert_array_equal(drawn[0]['classes'], found.classes[0])
  assert drawn[0]['boxes'][:, 3].max() <= 40


def test_the_teacher_alone_runs_no_students(segmentation):
  viewer = run_video.make_viewer(
    *segmentation, config=SEGMENTATION, size=(64, 64), shape=(64, 64)
  )
  teacher = run_video.teacher_of(viewer.frozen)
  frame = film(1, (64, 64))
  macs, outs = [], []
  for frozen in (viewer.frozen, teacher):
    program = jax.jit(frozen.keyframe).lower(frozen.params, frame).compile()
    macs.append(program.cost_analysis()['flops'])
    outs.append(program(frozen.params, frame)[1])
  assert macs[1] < 0.9 * macs[0]
  np.testing.assert_allclose(outs[0], outs[1], atol=1e-5)


def test_a_video_is_seen_in_its_proportions_with_the_pixels_of_the_training():
  for shape in ((720, 1280), (1280, 720), (64, 128), (300, 301)):
    rows, columns = run_video.network_size(SEGMENTATION, shape)
    assert rows % 8 == columns % 8 == 0
    assert rows * columns == pytest.approx(64 * 128, rel=0.15)
    assert rows / columns == pytest.approx(shape[0] / shape[1], rel=0.15)
  assert run_video.network_size(SEGMENTATION, (64, 128)) == (64, 128)
  assert run_video.network_size(DETECTION, (720, 1280)) == (64, 64)
  crop = {'task': {}, 'data': {'train': {'crop': [64, 64]}}}
  assert run_video.network_size(crop, (100, 100)) == (64, 64)


def test_a_converted_checkpoint_is_of_the_published_data():
  converted = {'task': {'model': 'ddrnet23', 'num_classes': 19, 'delta': {}}}
  assert run_video.kind_of(converted) == ('segmentation', 'cityscapes_video')
  converted['task'] |= {'model': 'efficientdet_d0', 'num_classes': 30}
  assert run_video.kind_of(converted) == ('detection', 'imagenet_vid')
  assert run_video.network_size(converted, (64, 64)) is None
  converted['task']['num_classes'] = 7
  assert run_video.kind_of(converted) == (None, None)
