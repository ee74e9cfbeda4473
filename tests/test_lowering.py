"""Every program of training, evaluation and deployment, for accelerators.

Nothing is compiled or run: programs are lowered for a TPU and a GPU on a
machine that has neither, with the forms of layers that such a machine takes.
"""

import functools

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import torch_states
from jax.sharding import Mesh, PartitionSpec

from deltax import delta, models, retrieval, tasks, training
from deltax.delta.deploy.frozen import in_dtype
from deltax.delta.run.keyframes import adaptive, scheduled
from deltax.layers import conv2d, fast_conv, forms
from deltax.retrieval.compare import bits, many, products
from deltax.systems.extractors import make_delta_extractor, make_extractor
from deltax.training import create_state, train_step

# What `jax.export` calls a platform, and jax the backend that it is.
BACKENDS = {'cpu': 'cpu', 'cuda': 'gpu', 'tpu': 'tpu'}
CLASSES, SIZE, FRAMES, REGIONS, FEATURES = 3, (64, 64), 8, 9, 64
OPTIMIZER = training.make_optimizer(
  'adamw', learning_rate=1e-3, steps=10, clip_norm=1.0
)
DELTA = {
  'spec': {'candidates': (('full',), ('low_rank', 2), ('strided',))},
  'intervals': (2,),
  'imitation_weight': 1.0,
}


def lowered(function, arguments, backend, *platforms):
  """What a program is on some platforms, with the forms of a backend."""
  with forms.forms_for(backend):
    made = jax.export.export(jax.jit(function), platforms=platforms)(*arguments)
  assert made.platforms == platforms
  return made


def for_accelerators(function, arguments):
  """One program for both, which take the same forms; as bytes."""
  made = lowered(function, arguments, 'tpu', 'cuda', 'tpu')
  return made.mlir_module_serialized


def program(function, arguments, platform):
  """The text of a program for one platform, with its own forms."""
  backend = BACKENDS[platform]
  return lowered(function, arguments, backend, platform).mlir_module()


def convolutions(function, arguments, platform):
  return program(function, arguments, platform).count('stablehlo.convolution')


def clips(**arrays):
  """A batch of two clips of two frames."""
  return {
    'frames': np.zeros((2, 2, *SIZE, 3), np.uint8),
    'mask': np.ones(2, np.float32),
    **arrays,
  }


def segmentation(**options):
  labels = np.zeros((2, 2, *SIZE), np.uint8)
  options = {'model': 'ddrnet23_tiny', 'num_classes': CLASSES, **options}
  return tasks.make_task('segmentation', **options), clips(labels=labels)


def detection(model, **options):
  options = {'model': model, 'num_classes': CLASSES, 'size': SIZE, **options}
  return tasks.make_task('detection', **options), clips(
    boxes=np.zeros((2, 2, 4, 4), np.float32),
    classes=np.zeros((2, 2, 4), np.int32),
    size=np.full((2, 2), 64, np.float32),
    real=np.ones((2, 2), bool),
  )


def videos(*roles):
  """Two of each role, one of the examples without its last four frames."""
  mask = np.ones((2, FRAMES), np.float32)
  mask[1, -4:] = 0
  regions = np.ones((2, FRAMES, REGIONS, FEATURES), np.float32)
  both = {role: regions for role in roles}
  return both | {f'{role}_mask': mask for role in roles}


def similarity(network, objective='distillation', **options):
  views = objective == 'self_supervised'
  roles = ('view_a', 'view_b') if views else ('anchor', 'positive', 'negative')
  batch = videos(*roles) | {'scores': np.zeros((2, 2), np.float32)}
  batch |= videos('query', 'target') | {
    'query_id': np.zeros(2, np.int32),
    'target_id': np.ones(2, np.int32),
    'relevant': np.ones(2, np.float32),
    'mask': np.ones(2, np.float32),
  }
  task = tasks.make_task(
    'similarity', network=network, objective=objective, options=options
  )
  return task, batch


def selection():
  pair = {name: np.zeros(2, np.float32) for name in ('coarse', 'scores')}
  batch = videos('query', 'target') | pair | {'mask': np.ones(2, np.float32)}
  return tasks.make_task('selection', options={'hidden': 8}), batch


COARSE = {'clusters': 4, 'size': 16, 'heads': 2, 'hidden': 32}
TASKS = {
  'a segmentation teacher': functools.partial(
    segmentation, loss={'hard': True}
  ),
  'delta segmentation': functools.partial(
    segmentation, delta=DELTA | {'judge_last': True}
  ),
  'an EfficientDet': functools.partial(detection, 'efficientdet_tiny'),
  'delta detection': functools.partial(
    detection,
    'efficientdet_tiny',
    delta=DELTA | {'spec': {'layers': 'detector'}},
  ),
  'a Faster R-CNN': functools.partial(detection, 'faster_rcnn_tiny'),
  'its delta network': functools.partial(
    detection, 'faster_rcnn_tiny', delta={'intervals': (2,)}
  ),
  'a retrieval teacher': functools.partial(similarity, 'visil', 'triplet'),
  'a fine student': functools.partial(similarity, 'fine_attention'),
  'a binary student': functools.partial(similarity, 'fine_binary'),
  'a coarse student': functools.partial(similarity, 'coarse', **COARSE),
  'self-supervision': functools.partial(similarity, 's2vs', 'self_supervised'),
  'a selector': selection,
}


@functools.cache
def started(name):
  """Task, state and batch of a run; of the state, shapes alone."""
  task, batch = TASKS[name]()
  if name == 'a binary student':  # whose codes numpy fits to the batch
    state = create_state(task, OPTIMIZER, batch, 0)
  else:
    state = jax.eval_shape(lambda: create_state(task, OPTIMIZER, batch, 0))
  return task, state, batch


DEEP = ('delta segmentation', 'delta detection', 'its delta network')


@pytest.mark.parametrize(
  'name',
  [
    pytest.param(name, marks=[pytest.mark.slow] * (name in DEEP))
    for name in TASKS
  ],
)
def test_training_and_evaluation_lower_for_accelerators(name):
  task, state, batch = started(name)
  step = functools.partial(train_step, task=task, optimizer=OPTIMIZER)
  assert for_accelerators(step, (state, batch))
  given = state.params, state.model_state, batch
  assert for_accelerators(task.evaluate, given)


def test_a_step_that_sums_over_devices_lowers_for_accelerators():
  task = tasks.make_task('selection', options={'hidden': 8}, axis_name='batch')
  _, batch = selection()
  state = jax.eval_shape(lambda: create_state(task, OPTIMIZER, batch, 0))
  step = functools.partial(
    train_step, task=task, optimizer=OPTIMIZER, axis_name='batch'
  )
  whole, split = PartitionSpec(), PartitionSpec('batch')
  mapped = jax.shard_map(
    step,
    mesh=Mesh(jax.devices()[:2], ('batch',)),
    in_specs=(whole, split),
    out_specs=whole,
    check_vma=False,
  )
  assert b'all_reduce' in for_accelerators(mapped, (state, batch))


@functools.cache
def frozen(name='ddrnet23_tiny'):
  """A frozen delta network, its parameters, and a frame."""
  frame = np.zeros((1, *SIZE, 3), np.float32)
  net = models.create(name, num_classes=CLASSES)
  variables = jax.eval_shape(net.init, jax.random.key(0), frame)
  made = delta.distill(net, delta.make_spec(**DELTA['spec']))
  params = jax.eval_shape(made.init, jax.random.key(0), variables, frame)
  return made.freeze(torch_states.drawn(params), frame), frame


def test_what_runs_a_clip_lowers_for_accelerators():
  network, _ = frozen()
  clip = np.zeros((1, 4, *SIZE, 3), np.float32)
  given = network.params, clip, 3
  assert b'convolution' in for_accelerators(network.rollout, given)
  live = scheduled(network.keyframe, network.step, adaptive(0.1, 8))
  given = network.params, clip, np.zeros((4, 8), np.float32)
  assert b'convolution' in for_accelerators(live.rollout, given)


def test_what_runs_a_stream_in_half_precision_lowers_for_accelerators():
  network, frame = frozen()
  network = in_dtype(network, jnp.bfloat16)
  given = network.params, frame
  assert b'convolution' in for_accelerators(network.keyframe, given)
  carry, _ = jax.eval_shape(network.keyframe, *given)
  given = network.params, carry, frame
  assert b'convolution' in for_accelerators(network.step, given)


@functools.cache
def extractors():
  frame = np.zeros((1, *SIZE, 3), np.float32)
  net = models.create('efficientnet_lite0', num_classes=None)
  variables = jax.eval_shape(net.init, jax.random.key(0), frame)
  spec = {'candidates': [['full']]}
  made = delta.distill(net, delta.make_spec(**spec))
  params = jax.eval_shape(made.init, jax.random.key(0), variables, frame)
  drawn = torch_states.drawn(variables)
  return {
    'plain': make_extractor('efficientnet_lite0', weights=drawn),
    'delta': make_delta_extractor(
      *('efficientnet_lite0', torch_states.drawn(params)),
      spec=spec,
      interval=8,
    ),
  }


def test_an_extractor_lowers_for_accelerators():
  run = extractors()['plain'].run
  given = *run.args, np.zeros((16, 224, 224, 3), np.uint8)
  assert b'convolution' in for_accelerators(run.func, given)


def test_an_extractor_with_students_lowers_for_accelerators():
  programs, _ = extractors()['delta'].run.args
  keyframe, step = programs(224, 224)
  frames = np.zeros((2, 224, 224, 3), np.uint8)
  given = *keyframe.args, frames
  assert b'convolution' in for_accelerators(keyframe.func, given)
  carry, _ = jax.eval_shape(keyframe.func, *given)
  given = *step.args, carry, frames
  assert b'convolution' in for_accelerators(step.func, given)


def retrieval_programs():
  """What indexing and search run: functions and shapes."""
  pair = tuple(videos('query', 'target').values())
  regions, mask = pair[0][:1], pair[2][:1]
  nets = {
    name: retrieval.create(name, **options)
    for name, options in {
      'fine_attention': {},
      'fine_binary': {},
      'selector': {'hidden': 8},
      'coarse': COARSE,
    }.items()
  }

  def of(name, method, *arguments):
    net = nets[name]
    given = (regions, mask)
    if name == 'selector':
      given = (*pair, np.zeros(2, np.float32))
    elif name != 'coarse':
      given = (regions, regions, mask, mask)
    variables = jax.eval_shape(net.init, jax.random.key(0), *given)
    return functools.partial(net.apply, method=method), (variables, *arguments)

  words = np.zeros((2, FRAMES, REGIONS, FEATURES // 32), np.uint32)
  numbers = np.zeros(2, np.float32)
  alike = np.zeros((2, FRAMES, FRAMES), np.float32)
  return {
    'coarse vectors': of('coarse', None, regions, mask),
    'codes': of('fine_attention', 'encode', regions),
    'binary codes': of('fine_binary', 'encode', regions),
    'packed': (bits.pack, (regions,)),
    'needs': of('selector', 'self_similarity', regions, mask),
    'decisions': of('selector', 'decide', *(numbers,) * 3),
    'products': (many.frame_similarity, (regions[0], pair[0])),
    'differing bits': (bits.frame_similarity, (words[0], words)),
    'what follows': of('fine_attention', 'compare_frames', alike, *pair[2:]),
  }


def test_indexing_and_search_lower_for_accelerators():
  for name, (function, arguments) in retrieval_programs().items():
    assert for_accelerators(function, arguments), name


def conv(channels, groups=1, size=(16, 16)):
  """A 3x3 convolution, and the shapes that it takes."""
  shapes = (1, *size, channels), (3, 3, channels // groups, channels)

  def run(x, kernel):
    pads = ((1, 1), (1, 1))
    return fast_conv(x, kernel, (1, 1), pads, feature_group_count=groups)

  return run, tuple(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes)


def gradient(function, arguments):
  return jax.grad(lambda *xs: function(*xs).sum(), (0, 1)), arguments


@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
def test_accelerators_take_no_form_that_is_for_a_cpu(platform):
  few_pixels = conv(8, size=(4, 4))
  assert convolutions(*few_pixels, 'cpu') == 0
  assert convolutions(*few_pixels, platform) == 1
  # On a CPU, gradients are laid out by hand, those of few channels each by
  # loops over rows; else jax's own are taken.
  for function, word in (
    (conv(8), 'optimization_barrier'),
    (conv(8, groups=8), 'stablehlo.while'),
  ):
    assert word in program(*gradient(*function), 'cpu')
    assert word not in program(*gradient(*function), platform)
  with forms.forms_for(BACKENDS[platform]):
    assert products.best_form(FEATURES) == 'float32'


@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
def test_accelerators_take_no_product_of_every_second_pixel(platform):
  """One that XLA for GPUs (0.11) cannot compile: it ends the process."""
  x, kernel = (
    jax.ShapeDtypeStruct(s, jnp.float32) for s in ((1, 8, 8, 4), (1, 1, 4, 6))
  )
  for stride, count in ((1, 0), (2, 1)):
    run = functools.partial(
      fast_conv, window_strides=(stride, stride), padding='VALID'
    )
    assert convolutions(run, (x, kernel), platform) == count
    assert convolutions(run, (x, kernel), 'cpu') == 0


@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
def test_what_a_cpu_has_frozen_runs_as_convolutions_elsewhere(platform):
  """Wide layers of few pixels, which a CPU runs in Winograd's form."""
  net = nn.Sequential([conv2d(128), conv2d(128), conv2d(4)])
  frame = np.zeros((1, 8, 8, 3), np.float32)
  variables = jax.eval_shape(net.init, jax.random.key(0), frame)
  made = delta.distill(net, delta.make_spec(candidates=(('full',),)))
  params = jax.eval_shape(made.init, jax.random.key(0), variables, frame)
  whole = torch_states.drawn(params)
  network = made.freeze(whole, frame)
  assert any('winograd' in conv for conv in network.params['convs'].values())
  given = network.params, frame
  count = convolutions(network.keyframe, given, platform)
  assert count > convolutions(network.keyframe, given, 'cpu')
  with forms.forms_for(BACKENDS[platform]):
    there = made.freeze(whole, frame)
  assert not any('winograd' in c for c in there.params['convs'].values())


def test_a_program_that_is_known_is_traced_anew_for_another_platform():
  function, shapes = conv(8, size=(4, 4))
  run, found = jax.jit(function), []
  for backend in ('cpu', 'tpu', 'cpu'):
    with forms.forms_for(backend):
      found.append('convolution' in run.lower(*shapes).as_text())
  assert found == [False, True, False]
