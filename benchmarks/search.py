"""The gradient search beside others, at equal cost and equal steps.

    python benchmarks/search.py --run runs/demo/delta_time

RUN is finished: gates that learned, settled after `search_steps`, and students
that were trained on. The others have no gates: for as many steps all candidates
are trained, drawn alike, and a choice within the same limit, from the same
table of costs, is then trained on for as many steps. 'greedy' takes the choice
whose candidates, each judged alone, miss least of the teacher's change on
training clips; 'evolved' is what an evolutionary search finds whose outputs are
nearest to the teacher's there. All else is the run's own config, but that the
schedule of the learning rate spans each of the two parts in turn. All lies in
RUN, and continues if it was stopped.
"""

import argparse
import collections
import copy
import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from deltax import delta as delta_wing
from deltax import experiment, files, models, training
from deltax.delta.search import choice, latency, sensitivity
from deltax.models.inputs import normalise
from deltax.tasks.parts import delta_params
from deltax.tasks.video.choice.gate_search import certain, one_hot
from deltax.tasks.video.choice.prices import Prices, measured

POPULATION, GENERATIONS = 16, 10


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--run', required=True, type=pathlib.Path)
  parser.add_argument(
    '--baselines', nargs='+', choices=CHOOSERS, default=list(CHOOSERS)
  )
  parser.add_argument('--clips', type=int, default=32, help='to judge on')
  parser.add_argument('--out', type=pathlib.Path, help='JSON')
  options = parser.parse_args()
  logging.set_verbosity(logging.INFO)
  config = json.loads((options.run / 'config.json').read_text())
  searched = config['task'].get('delta') or {}
  if not (searched.get('target') and searched.get('search_steps')):
    parser.error(f'{options.run} was not searched: it has no target and steps')
  candidates = options.run / 'candidates'
  experiment.train(all_alike(config), candidates)
  clips = first_clips(config, options.clips)
  runs = {'gradient': options.run}
  for name in options.baselines:
    folder = options.run / name
    if not any((folder / 'chosen').glob('*/0')):
      picked = CHOOSERS[name](config, candidates, clips)
      write_chosen(candidates, folder / 'chosen', picked)
    experiment.train(tuned(config, folder / 'chosen'), folder / 'tuned')
    runs[name] = folder / 'tuned'
  found = {
    name: described(config, run, clips.shape[2:]) for name, run in runs.items()
  }
  unit = 'ms' if searched.get('latency') else 'MACs'
  show(found, config['training']['best'], unit)
  if options.out:
    files.write_json(options.out, found)


def first_clips(config: dict, count: int) -> np.ndarray:
  """uint8 `[count, T, H, W, 3]` of the training data."""
  dataset, frames = experiment.dataset(config, 'train'), []
  while sum(map(len, frames)) < count:
    frames.append(np.asarray(dataset[len(frames)]['frames']))
  return np.concatenate(frames)[:count]


def all_alike(config: dict) -> dict:
  """Of a searched run: one of its search steps, its candidates drawn alike."""
  config, steps = copy.deepcopy(config), config['task']['delta']['search_steps']
  own = config['task']['delta']
  own |= {'target': None, 'search_steps': None, 'budget_weight': 0.0}
  own['spec'] = {**(own.get('spec') or {}), 'initial_logit': 0.0}
  others = [g for g in config['optimizer']['groups'] if g[0] != '^gates/']
  config['optimizer']['groups'] = [['^gates/', 'frozen'], *others]
  config['training'] |= {'steps': steps, 'evaluate_every': steps}
  return config


def tuned(config: dict, start: pathlib.Path) -> dict:
  """Of a searched run: one of the steps after its search."""
  config = copy.deepcopy(config)
  own = config['task']['delta']
  steps = config['training']['steps'] - own['search_steps']
  own |= {'target': None, 'search_steps': 0}
  config['training'] |= {'steps': steps, 'evaluate_every': steps}
  return config | {'teacher': str(start)}


class Network(NamedTuple):
  """A run's delta network, as `deltax.tasks.video.choice.prices` prices it."""

  delta: delta_wing.Delta
  params: Any
  frame: jax.ShapeDtypeStruct
  prices: Prices


def network(config: dict, run: pathlib.Path, shape: tuple[int, ...]) -> Network:
  """Reads a run.

  Args:
    config: of it.
    run: its folder.
    shape: (H, W, C) of the frames that it is trained on.
  """
  task = config['task']
  net = models.create(task['model'], num_classes=task['num_classes'])
  spec = delta_wing.make_spec(**(task['delta'].get('spec') or {}))
  delta = delta_wing.distill(net, spec)
  params = delta_params(*training.restore_params(run))
  frame = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  if file := task['delta'].get('latency'):
    prices = measured(latency.read(file), delta, params['teacher'], frame)
  else:
    prices = Prices(*delta.costs(params, frame))
  return Network(delta, params, frame, prices)


def greedy(
  config: dict, run: pathlib.Path, clips: np.ndarray
) -> dict[str, int]:
  """The candidates that miss least of the teacher's change, within the limit.

  Args:
    config: of the searched run.
    run: where all candidates were trained.
    clips: uint8 `[B, T, H, W, 3]` to judge on.

  Returns:
    Index of the candidate, by path of a gate.
  """
  delta, params, _, prices = network(config, run, clips.shape[2:])
  missed = sensitivity.errors(delta, params, normalise(jnp.asarray(clips)))
  gates = params['gates']
  return choice.within(
    {path: -missed[path] for path in gates},
    prices.gated(gates),
    prices.limit(config['task']['delta']['target'], gates),
  )


def evolved(
  config: dict, run: pathlib.Path, clips: np.ndarray
) -> dict[str, int]:
  """The choice, within the limit, nearest to the teacher's outputs.

  Args:
    config: of the searched run.
    run: where all candidates were trained.
    clips: uint8 `[B, T, H, W, 3]` to judge on.

  Returns:
    Index of the candidate, by path of a gate.
  """
  delta, params, _, prices = network(config, run, clips.shape[2:])
  gates, clips = params['gates'], normalise(jnp.asarray(clips))
  outputs, _ = jax.jit(delta.reference)(params, clips)

  @jax.jit
  def distance(params, clips, outputs):
    outs, _ = delta.clip(params, clips)
    missed = jax.tree.map(lambda a, b: jnp.square(a - b).sum(), outs, outputs)
    return sum(jax.tree.leaves(missed))

  def score(choices):
    for picked in choices:
      own = {**params, 'gates': chosen_gates(gates, picked)}
      yield -float(distance(own, clips, outputs))

  return choice.evolve(
    lambda choices: list(score(choices)),
    prices.gated(gates),
    prices.limit(config['task']['delta']['target'], gates),
    population=POPULATION,
    generations=GENERATIONS,
  )


CHOOSERS = {'greedy': greedy, 'evolved': evolved}


def chosen_gates(gates, picked: Mapping[str, int]) -> dict[str, Any]:
  """Logits of gates that have chosen."""
  return certain(
    {
      path: jax.nn.one_hot(picked[path], own.size + 1)
      for path, own in gates.items()
    }
  )


def write_chosen(
  run: pathlib.Path, out: pathlib.Path, picked: Mapping[str, int]
) -> None:
  """Writes a run's parameters as a checkpoint whose gates have chosen."""
  params, model_state = training.restore_params(run)
  params = {**params, 'gates': chosen_gates(params['gates'], picked)}
  state = training.TrainState(
    jnp.zeros((), jnp.int32), params, model_state, (), jax.random.key(0)
  )
  with training.Checkpoints(out) as checkpoints:
    checkpoints.save(state)


def described(config: dict, run: pathlib.Path, shape: tuple[int, ...]) -> dict:
  """The scores of a run, its choice, and the cost of a later frame."""
  delta, params, frame, prices = network(config, run, shape)
  weights = {path: one_hot(own) for path, own in params['gates'].items()}
  rows = delta.macs(params, frame).rows
  return {
    'scores': training.read_metadata(run)['scores'],
    'share': float(prices.share(weights)),
    'cost': float(prices.share(weights)) * prices.whole,
    'choice': {row.path: row.candidate for row in rows if row.path in weights},
  }


def show(found: Mapping[str, dict], score: str, unit: str) -> None:
  """Prints both choices layer by layer, then how often, their costs, scores."""
  choices = [own['choice'] for own in found.values()]
  width = max(map(len, choices[0]))
  print(f'{"":{width}}', *(f'{name:>14}' for name in found))
  for path in choices[0]:
    print(f'{path:{width}}', *(f'{own[path]:>14}' for own in choices))
  teacher = f'teacher/{score.partition("/")[2]}'
  for name, own in found.items():
    counts = collections.Counter(own['choice'].values())
    print(
      f'{name}: {score} {own["scores"][score]:.4f} (teacher '
      f'{own["scores"][teacher]:.4f}), '
      f'{own["cost"]:.4g} {unit}, {own["share"]:.3f} of the teacher; '
      + ', '.join(f'{count} {kind}' for kind, count in counts.most_common())
    )


if __name__ == '__main__':
  main()
