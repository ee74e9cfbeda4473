"""Fixed key frames beside those that the video asks for, at equal cost.

    python benchmarks/schedules.py --run runs/demo/delta --out schedules.json
    python benchmarks/schedules.py --run runs/camvid --camvid /data/camvid

For every fixed interval, the thresholds of the adaptive schedules (change of
early layers; motion of a video codec) are set to give at most as many key
frames on the same clips; labels have no part in that. Every clip begins with a
key frame. The same clips are judged three times: as they are; as stop and go,
where each stands still in its middle for its own length, but for noise of two
grey levels; and joined to one video with cuts. A network of other classes than
CamVid's is judged there on those that both know. With `--streams N`, also frame
times of N parallel streams, key frames all at once and staggered.
"""

import argparse
import json
import os
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deltax import data, delta, experiment, files, models, training
from deltax.data.video.codec_motion import measure_motion
from deltax.delta.run import keyframes, streams
from deltax.metrics.segmentation import confusion, iou
from deltax.models.inputs import normalise
from deltax.tasks.parts import delta_params
from deltax.tasks.segmentation.parts import predict

STREET_NAMES = {
  'pavement': 'sidewalk',
  'tree': 'vegetation',
  'pedestrian': 'person',
}


class Network(NamedTuple):
  """A trained delta network, deployed."""

  net: Any
  variables: Any
  frozen: delta.Frozen
  delta: delta.Delta
  params: Any
  classes: tuple[str, ...]


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--run', required=True, help='folder of a delta network')
  parser.add_argument('--camvid', help='folder of CamVid, judged on too')
  parser.add_argument('--intervals', type=int, nargs='+', default=(2, 3, 5, 10))
  parser.add_argument('--longest', type=int, default=30)
  parser.add_argument('--layers', nargs='+', default=('layer1_1/conv2',))
  parser.add_argument('--scale', type=int, default=4, help='at most')
  parser.add_argument('--streams', type=int, default=0)
  parser.add_argument('--ticks', type=int, default=200)
  parser.add_argument('--out', type=pathlib.Path, help='JSON')
  options = parser.parse_args()
  config = json.loads((pathlib.Path(options.run) / 'config.json').read_text())
  config['data']['evaluation'] |= {'batch_size': 1, 'flow': False}
  network = read_network(options.run, config)
  dataset = experiment.dataset(config, 'evaluation')
  clips = read_clips(dataset, range(len(network.classes)))
  given = {config['data']['name']: clips}
  if options.camvid:
    given['camvid'] = camvid_clips(options.camvid, network.classes)
  found = {}
  for name, own in given.items():
    for manner, change in MANNERS.items():
      if manner == 'cuts' and len(own) == 1:
        continue
      title = ', '.join(filter(None, (name, manner)))
      found[title] = compare(network, change(own), options)
      show(title, found[title])
  if options.streams:
    frames = normalise(clips[0]['frames'])
    found['streams'] = stream_times(network, frames, options)
  if options.out:
    files.write_json(options.out, found)


def read_network(run: str | os.PathLike, config) -> Network:
  task = config['task']
  net = models.create(task['model'], num_classes=task['num_classes'])
  params, model_state = training.restore_params(run)
  params = delta_params(params, model_state)
  variables = params['teacher']
  spec = delta.make_spec(**(task['delta'].get('spec') or {}))
  distilled = delta.distill(net, spec)
  classes = data.describe(config['data']['name']).classes
  frozen = distilled.freeze(params)
  return Network(net, variables, frozen, distilled, params, classes)


def read_clips(dataset, label_of) -> list[dict]:
  """Clips as `{'frames', 'labels'}`, each label replaced by its `label_of`."""
  table = np.full(256, 255, np.uint8)
  table[: len(label_of)] = label_of
  found = []
  for i in range(len(dataset)):
    batch = dataset[i]
    labels = table[batch['labels'][0]]
    found.append({'frames': batch['frames'][0], 'labels': labels})
  return found


def camvid_clips(root, classes) -> list[dict]:
  """The one real clip, its labels in the network's own classes."""
  dataset = data.make_dataset(
    'camvid', 'val', batch_size=1, train=False, clip_length=None, root=root
  )
  own = data.describe('camvid').classes
  names = own if own == classes else [STREET_NAMES.get(x, x) for x in own]
  label_of = [classes.index(x) if x in classes else 255 for x in names]
  return read_clips(dataset, label_of)


def stop_and_go(clips: list[dict]) -> list[dict]:
  """Each clip with a rest in its middle, as long as the clip."""
  rng, found = np.random.default_rng(0), []
  for clip in clips:
    time = len(clip['frames'])
    resting = np.arange(2 * time).clip(0, time // 2)
    resting[time + time // 2 :] = np.arange(time // 2, time)
    frames, labels = clip['frames'][resting], clip['labels'][resting]
    noisy = frames + rng.normal(0, 2, frames.shape)
    repeated = np.diff(resting, prepend=-1) == 0
    frames[repeated] = noisy[repeated].round().clip(0, 255)
    found.append({'frames': frames, 'labels': labels})
  return found


def joined(clips: list[dict]) -> list[dict]:
  """All clips as one; shortened by turns, lest all cuts meet an interval."""
  return [
    {
      name: np.concatenate([x[name][i % 4 :] for i, x in enumerate(clips)])
      for name in ('frames', 'labels')
    }
  ]


MANNERS = {'': list, 'stop and go': stop_and_go, 'cuts': joined}


def compare(network: Network, clips: list[dict], options) -> list[dict]:
  """One row a schedule: accuracy, share of key frames, mean cost."""
  frame = jax.ShapeDtypeStruct((1, *clips[0]['frames'].shape[1:]), jnp.float32)
  macs = network.delta.macs(network.params, frame)
  scale = max(
    each
    for each in range(1, options.scale + 1)
    if not any(side % (8 * each) for side in frame.shape[1:3])
  )
  look = keyframes.early_layers(network.net, options.layers, scale)
  looked, look_macs = looking(look, network.variables, frame)
  judge = make_judge(network)
  seen = {
    'layers': [looked(clip['frames']) for clip in clips],
    'motion': [jnp.asarray(measure_motion(x['frames']).pixels) for x in clips],
  }
  seen['fixed'] = seen['motion']  # not looked at: they tell how many frames
  rules = {
    'layers': lambda x: keyframes.adaptive(x, options.longest),
    'motion': lambda x: keyframes.travelled(x, options.longest),
  }

  def row(name, interval, threshold, schedule):
    plans = [keyframes.keys(schedule, each) for each in seen[name]]
    counts, agreed = zip(*map(judge, clips, plans), strict=True)
    share = float(np.concatenate(plans).mean())
    cost = share * macs.key + (1 - share) * macs.later
    return {
      'schedule': name,
      'interval': interval,
      'threshold': threshold,
      'miou': labelled_iou(np.sum(counts, 0)),
      'agreement': float(np.concatenate(agreed).mean()),
      'key_share': share,
      'gmacs': (cost + look_macs * (name == 'layers')) / 1e9,
    }

  rows = [row('fixed', 1, None, keyframes.fixed(1))]
  for interval in options.intervals:
    rows.append(row('fixed', interval, None, keyframes.fixed(interval)))
    share = rows[-1]['key_share']
    for name, rule in rules.items():
      try:
        threshold = keyframes.calibrate(rule, seen[name], share)
      except ValueError as error:
        print(f'{name}, interval {interval}: {error}')
        continue
      rows.append(row(name, interval, threshold, rule(threshold)))
  return rows


def looking(look, variables, frame):
  """`frames [T, H, W, 3] -> features [T, ...]`, compiled, and its MACs."""
  compiled = jax.jit(look).lower(variables, frame).compile()
  clip = jax.jit(
    lambda frames: jax.lax.map(
      lambda x: look(variables, normalise(x[None])), frames
    )
  )
  return clip, compiled.cost_analysis()['flops'] / 2


def make_judge(network: Network):
  """`(clip, is_key [T]) -> (confusion [K, K], agreement [T])`."""
  # The plan is the only feature, and the rule follows it.
  planned = keyframes.Schedule(lambda _: (), lambda is_key, *_: (is_key, ()))
  live = keyframes.scheduled(
    network.frozen.keyframe, network.frozen.step, planned
  )

  @jax.jit
  def run(params, frames, is_key):
    outs, _ = live.rollout(params, normalise(frames)[None], is_key)
    size = frames.shape[1:3]
    return jax.lax.map(
      lambda out: predict(out[None, None], size)[0, 0], outs[0]
    )

  def judge(clip, is_key):
    own = run(network.frozen.params, clip['frames'], is_key)
    if 'alone' not in clip:
      clip['alone'] = run(
        network.frozen.params, clip['frames'], jnp.ones_like(is_key)
      )
    counts = confusion(own, clip['labels'], len(network.classes))
    return np.asarray(counts.sum(0)), np.mean(own == clip['alone'], (1, 2))

  return judge


def labelled_iou(counts: np.ndarray) -> float:
  """Mean over the classes that are labelled anywhere."""
  return float(np.asarray(iou(counts))[counts.sum(1) > 0].mean())


def stream_times(network: Network, frames, options) -> list[dict]:
  """Milliseconds of all streams' frames, by interval and phases."""
  count, rows = options.streams, []
  frames = jnp.resize(frames, (count, *frames.shape[1:]))
  key, step = (
    jax.jit(network.frozen.keyframe),
    jax.jit(network.frozen.step, donate_argnums=1),
  )
  print(f'\n{count} streams, ms of a tick {"p50":>16}{"p95":>9}{"p99":>9}')
  for interval in options.intervals:
    for name, phases in (
      ('at once', (0,) * count),
      ('staggered', streams.staggered(count, interval)),
    ):
      times = streams.tick_times(
        streams.parallel(key, step, phases, interval),
        network.frozen.params,
        frames,
        warm_up=2 * interval + 1,
        ticks=options.ticks,
      )
      row = streams.percentiles(times) | {'mean': float(times.mean())}
      rows.append({'interval': interval, 'phases': name, **row})
      print(
        f'interval {interval:3}, {name:12}{row["p50"]:16.1f}'
        f'{row["p95"]:9.1f}{row["p99"]:9.1f}'
      )
  return rows


def show(name: str, rows: list[dict]) -> None:
  print(f'\n{name}')
  print(
    f'{"schedule":10}{"interval":>9}{"threshold":>11}{"mIoU":>8}'
    f'{"as alone":>10}{"key frames":>12}{"GMACs":>8}{"share":>8}'
  )
  for row in rows:
    threshold = '' if row['threshold'] is None else f'{row["threshold"]:.3g}'
    print(
      f'{row["schedule"]:10}{row["interval"]:9}{threshold:>11}'
      f'{row["miou"]:8.4f}{row["agreement"]:10.4f}{row["key_share"]:12.1%}'
      f'{row["gmacs"]:8.3f}{row["gmacs"] / rows[0]["gmacs"]:8.1%}',
      flush=True,
    )


if __name__ == '__main__':
  main()
