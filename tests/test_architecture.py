"""Who may import whom, and which library is used where."""

import ast
import json
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# Floors from the top; a file imports from lower floors and its own folder.
FLOORS = (
  {'train', 'eval', 'configs', 'colabs', '__main__'},
  {'commands'},
  {'experiment'},
  {'tasks'},
  {'systems'},
  {'training'},
  {'delta', 'retrieval', 'models', 'convert', 'report'},
  {'layers', 'losses', 'metrics', 'data', 'processes'},
  {'boxes', 'compilation', 'identity'},
  {'types', 'task', 'errors', 'files', 'plain', 'progress'},
  {'deltax', '__init__'},
)
SIDEWAYS = {
  ('convert', 'delta'),
  ('convert', 'models'),
  ('convert', 'retrieval'),
  ('convert', 'commands'),  # only its __main__, which `python -m` runs
  ('task', 'types'),
}
# The trainer is handed a task: it knows no wing, no network and no page.
TRAINER_KNOWS_NOT = {'delta', 'retrieval', 'models', 'convert', 'report'}
# A task is handed to the trainer; of it, tasks know sums over devices alone.
TASKS_KNOW = {'parallel'}
FENCES = {
  'orbax': {
    'deltax/training/checkpoints.py',
    'deltax/convert/weights/orbax_folder.py',
  },
  'clu': {'deltax/training/writers.py'},
  'tensorboard': {'deltax/training/writers.py'},
  'tensorboardX': {'deltax/training/writers.py'},
  'ml_collections': {'train.py', 'eval.py', 'configs/'},
  'tensorflow_datasets': {'deltax/data/'},
  'grain': {'deltax/data/'},
  'cv2': {'deltax/data/'},
  'av': {'deltax/data/'},
  'h5py': {'deltax/data/'},
  'faiss': {'deltax/retrieval/search/coarse_faiss.py'},
  'pymilvus': {'deltax/retrieval/search/milvus_collection.py'},
  'milvus_lite': {'deltax/retrieval/search/milvus_collection.py'},
  'apache_beam': {'deltax/systems/beam/'},
  'panda3d': {'deltax/data/'},
  'faster_coco_eval': {'deltax/metrics/'},
  'matplotlib': {'deltax/report/', 'colabs/'},
  'onnx': {'deltax/delta/deploy/onnx/'},
  'fastapi': {'deltax/commands/serving/'},
  'starlette': {'deltax/commands/serving/'},
  'uvicorn': {'deltax/commands/serving/'},
  'torch': set(),
  'tensorflow': set(),
}
WITHOUT_FLAX = ('deltax/retrieval/', 'deltax/systems/')
NETWORKS_OF_RETRIEVAL = 'deltax/retrieval/networks/'
ADAPTERS = 'deltax/delta/adapters/'
# Folders of data: each imports from those behind it and from what they share,
# the files of `data` itself. These import no folder, but for the `__init__`.
DATA = ('copies', 'street', 'folders', 'own', 'features', 'video')
# Made data sets are reached by name, through DATASETS, and by their commands.
MADE_DATA = {'copies', 'street'}
MAKERS = ('deltax/commands/', 'configs/')
DEVICES = {
  'deltax/training/parallel.py',
  'deltax/layers/norm.py',
  'deltax/layers/noise.py',
  'deltax/processes.py',
}
DEVICE_NAMES = {
  *('pmap', 'shard_map', 'psum', 'pmean', 'all_gather', 'axis_size'),
  *('axis_index', 'Mesh', 'make_mesh', 'device_count', 'local_device_count'),
  'process_allgather',
}


def sources():
  """Every file of code: its name in the repository, its syntax tree."""
  for path in [*ROOT.glob('deltax/**/*.py'), *ROOT.glob('configs/**/*.py')]:
    yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())
  for path in ROOT.glob('*.py'):
    yield path.name, ast.parse(path.read_text())
  for path in ROOT.glob('colabs/*.ipynb'):
    cells = json.loads(path.read_text())['cells']
    code = [''.join(c['source']) for c in cells if c['cell_type'] == 'code']
    code = re.sub(r'^(\s*)[!%].*', r'\1pass', '\n'.join(code), flags=re.M)
    yield path.relative_to(ROOT).as_posix(), ast.parse(code)


def imports(tree):
  """Dotted names that a file imports, at its top or inside a function."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, 'imports are absolute'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def floor(unit):
  for number, units in enumerate(FLOORS):
    if unit in units:
      return number
  raise AssertionError(f'{unit!r} stands on no floor; give it one here')


def wrong_import(file, name):
  """The rule that an import breaks, or None."""
  library, *parts = name.split('.')
  if (
    library == 'flax'
    and file.startswith(WITHOUT_FLAX)
    and not (file.startswith(NETWORKS_OF_RETRIEVAL))
  ):
    return f'of retrieval, flax belongs in {NETWORKS_OF_RETRIEVAL}'
  if (
    library == 'flax'
    and file.startswith('deltax/delta/')
    and not file.startswith(ADAPTERS)
  ):
    return f'of delta, flax belongs in {ADAPTERS}'
  for place in FENCES.get(library, ()):
    if file == place or (place.endswith('/') and file.startswith(place)):
      return None
  if library in FENCES:
    return f'{library} belongs in {sorted(FENCES[library]) or "no file"}'
  if library == 'deltax':
    target = parts[0] if parts and parts[0].isalpha() else 'deltax'
  elif library == 'configs':
    target = 'configs'
  else:
    return None
  own = file.removesuffix('.py').removeprefix('deltax/').split('/')[0]
  if own == 'training' and target in TRAINER_KNOWS_NOT:
    return 'the trainer knows no wing, no network and no page'
  if own == 'tasks' and target == 'training' and parts[1] not in TASKS_KNOW:
    return 'of the trainer, tasks know sums over devices alone'
  beside = (own, target), (own, '.'.join(parts[:2]))
  if own == target or floor(own) < floor(target) or SIDEWAYS & {*beside}:
    return None
  return f'{own} may not import upward or sideways: {target}'


def wrong_data_import(file, name):
  """The rule on the folders of data that an import breaks, or None."""
  *above, target = name.split('.')[:3]
  if above != ['deltax', 'data'] or target not in DATA:
    return None
  room = file.removeprefix('deltax/data/').split('/')[0]
  if not file.startswith('deltax/data/'):
    if target in MADE_DATA and not file.startswith(MAKERS):
      return f'{target} is reached through DATASETS and commands alone'
    return None
  if room not in DATA:
    if room == '__init__.py' and target not in MADE_DATA:
      return None
    return 'what all data sets share imports none of them'
  if DATA.index(target) < DATA.index(room):
    return f'{room} stands before {target}: {" > ".join(DATA)}'
  world = 'deltax.data.street.world'
  if file.startswith(f'{world.replace(".", "/")}/') and target == 'street':
    return None if name.startswith(world) else 'the world is drawn by others'
  return None


def uses(tree):
  """Names of jax that a file reads: `jax.lax.psum` gives `psum`."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Attribute):
      root = node
      while isinstance(root, ast.Attribute):
        root = root.value
      if isinstance(root, ast.Name) and root.id in ('jax', 'lax'):
        yield node.attr
  yield from (n.split('.')[-1] for n in imports(tree) if n.startswith('jax.'))


def test_imports_go_down_and_libraries_stay_behind_their_fences():
  wrong = [
    f'{file} imports {name}: {rule}'
    for file, tree in sources()
    for name in imports(tree)
    if (rule := wrong_import(file, name) or wrong_data_import(file, name))
  ]
  assert not wrong, '\n' + '\n'.join(wrong)


def test_only_one_file_and_batch_norm_know_of_devices():
  wrong = [
    f'{file} uses {name}: devices are the business of {sorted(DEVICES)}'
    for file, tree in sources()
    for name in set(uses(tree)) & DEVICE_NAMES
    if file not in DEVICES
  ]
  assert not wrong, '\n' + '\n'.join(wrong)


@pytest.mark.parametrize(
  ('file', 'name'),
  [
    ('deltax/delta/spec.py', 'deltax.models.create'),
    ('deltax/delta/spec.py', 'deltax.retrieval'),
    ('deltax/models/ddrnet.py', 'deltax.delta.distill'),
    ('deltax/training/loop.py', 'deltax.models'),
    ('deltax/training/loop.py', 'deltax.tasks.make_task'),
    ('deltax/tasks/segmentation/task.py', 'deltax.training.train'),
    ('deltax/losses/segmentation.py', 'deltax.layers.fast_conv'),
    ('deltax/types.py', 'deltax.task.Task'),
    ('deltax/experiment/run.py', 'deltax.commands.main'),
    ('deltax/delta/freeze.py', 'onnx'),
    ('deltax/training/loop.py', 'orbax.checkpoint'),
    ('deltax/tasks/segmentation/task.py', 'ml_collections'),
    ('deltax/convert/state_dict.py', 'torch'),
    ('train.py', 'tensorflow'),
    ('deltax/retrieval/system.py', 'flax.linen'),
    ('deltax/systems/folder.py', 'flax.traverse_util'),
    ('deltax/delta/plan.py', 'flax.nnx'),
  ],
)
def test_a_wrong_import_is_found(file, name):
  assert wrong_import(file, name)


@pytest.mark.parametrize(
  ('file', 'name'),
  [
    ('train.py', 'deltax.training'),
    ('configs/a.py', 'configs.common'),
    ('deltax/retrieval/networks/fine.py', 'flax.linen'),
    ('deltax/tasks/segmentation/task.py', 'deltax.training.parallel.axis_size'),
    ('deltax/convert/delta.py', 'deltax.delta.distill'),
    ('deltax/delta/adapters/nnx.py', 'flax.nnx'),
    ('deltax/training/checkpoints.py', 'deltax.__version__'),
    ('deltax/data/street/builder.py', 'tensorflow_datasets'),
  ],
)
def test_a_right_import_is_not(file, name):
  assert wrong_import(file, name) is None


@pytest.mark.parametrize(
  ('file', 'name'),
  [
    ('deltax/tasks/segmentation/task.py', 'deltax.data.street.drive'),
    ('deltax/systems/indexing.py', 'deltax.data.copies.make'),
    ('train.py', 'deltax.data.street'),
    ('deltax/data/__init__.py', 'deltax.data.street.builder'),
    ('deltax/data/pipeline.py', 'deltax.data.video.files.read_video'),
    ('deltax/data/features/store.py', 'deltax.data.street.drive'),
    ('deltax/data/video/files.py', 'deltax.data.features.shards.records'),
    ('deltax/data/street/builder.py', 'deltax.data.copies.plan'),
    ('deltax/data/street/world/mesh.py', 'deltax.data.street.renderer'),
  ],
)
def test_a_wrong_import_of_data_is_found(file, name):
  assert wrong_data_import(file, name)


@pytest.mark.parametrize(
  ('file', 'name'),
  [
    ('deltax/commands/training/copies.py', 'deltax.data.copies.make'),
    ('deltax/systems/indexing.py', 'deltax.data.video.files.read_video'),
    ('deltax/data/__init__.py', 'deltax.data.features.store'),
    ('deltax/data/copies/make.py', 'deltax.data.street.film'),
    ('deltax/data/street/layouts.py', 'deltax.data.labels'),
    ('deltax/data/street/scene.py', 'deltax.data.street.world.ground'),
    ('deltax/data/street/world/ground.py', 'deltax.data.street.world.mesh'),
    ('deltax/data/features/extraction.py', 'deltax.data.video.files'),
    ('deltax/data/features/pairs.py', 'deltax.data.pipeline.training'),
  ],
)
def test_a_right_import_of_data_is_not(file, name):
  assert wrong_data_import(file, name) is None
