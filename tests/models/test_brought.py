"""Networks and functions that a text names: files, modules, what goes wrong."""

import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from deltax import delta, models
from deltax.errors import DeltaxError
from deltax.models import brought

FILE = """
import dataclasses
import flax.linen as nn
from flax import nnx
from layers import Wide, width

@dataclasses.dataclass
class Options:
  width: 'int' = 3

class Net(nn.Module):
  features: int = width()
  @nn.compact
  def __call__(self, frames):
    return Wide(self.features)(frames)

class Graph(nnx.Module):
  def __init__(self, features=4, *, rngs):
    self.conv = nnx.Conv(3, features, (3, 3), rngs=rngs)
  def __call__(self, frames):
    return self.conv(frames)

def make(features):
  from late import more  # when it is called
  return Net(more(features))

def number():
  return 3

def a_class():
  return Net

net = Net(9)
"""
LAYERS = """
import flax.linen as nn
from parts.sizes import SIZE
def width():
  return SIZE
class Wide(nn.Module):
  features: int
  @nn.compact
  def __call__(self, frames):
    return nn.Conv(self.features, (3, 3))(frames)
"""


@pytest.fixture
def folder(tmp_path):
  return write(tmp_path / 'mine', size=5)


def write(folder, size):
  (folder / 'parts').mkdir(parents=True)
  (folder / 'net.py').write_text(FILE)
  (folder / 'layers.py').write_text(LAYERS)
  (folder / 'late.py').write_text('def more(x):\n  return x + 1\n')
  (folder / 'parts' / 'sizes.py').write_text(f'SIZE = {size}\n')
  return folder


def test_a_network_of_ours_is_made_by_name():
  net = brought.load('ddrnet23_tiny', {'num_classes': 3, 'axis_name': 'x'})
  assert net == models.create('ddrnet23_tiny', num_classes=3, axis_name='x')


def test_a_network_of_a_file_runs_with_what_lies_beside_it(folder):
  net = brought.load(f'{folder}/net.py:make', {'features': 6})
  frames = jnp.ones((1, 8, 8, 3))
  out, _ = net.init_with_output(jax.random.key(0), frames)
  assert isinstance(net, nn.Module) and out.shape == (1, 8, 8, 7)
  assert brought.load(f'{folder}/net.py:Net', {}).features == 5
  assert brought.load(f'{folder}/net.py:net', {}).features == 9


def test_a_network_of_nnx_is_brought_and_runs_as_a_network(folder):
  net = brought.load(f'{folder}/net.py:Graph', {'features': 6})
  frame = jnp.ones((1, 8, 8, 3))
  network = delta.as_network(net)
  variables = network.taken(nnx.state(net))
  assert variables['params']['conv']['kernel'].shape == (3, 3, 3, 6)
  np.testing.assert_array_equal(network.run(variables, frame), net(frame))


def test_a_module_that_python_finds_is_imported(folder, monkeypatch):
  net = brought.load('flax.linen:Dense', {'features': 4})
  assert net.features == 4
  monkeypatch.chdir(folder)
  assert brought.load('layers:Wide', {'features': 2}).features == 2


def test_nothing_is_left_in_the_path_and_a_file_is_loaded_once(folder):
  before = list(sys.path)
  one = brought.function(f'{folder}/net.py:number')
  again = brought.function(f'{folder}/../mine/net.py:number')
  assert one is again and sys.path == before


def test_files_of_one_name_are_kept_apart_and_so_is_what_they_import(tmp_path):
  for name, size in (('a', 5), ('b', 6)):
    write(tmp_path / name, size)
  nets = [
    brought.load(f'{tmp_path}/{name}/net.py:Net', {}) for name in ('a', 'b')
  ]
  assert [net.features for net in nets] == [5, 6]
  assert type(nets[0]) is not type(nets[1])
  made = brought.load(f'{tmp_path}/a/net.py:make', {'features': 1})
  assert type(made) is type(nets[0])
  assert sys.modules['layers'].__file__ == str(tmp_path / 'a' / 'layers.py')


def test_a_file_that_failed_is_loaded_again_when_it_is_mended(tmp_path):
  path = tmp_path / 'net.py'
  path.write_text('import flax.linen as nn\n1 / 0\n')
  with pytest.raises(DeltaxError, match=r'cannot be imported: ZeroDivisionErr'):
    brought.load(f'{path}:nn.Dense', {'features': 1})
  path.write_text('import flax.linen as nn\n')
  assert brought.load(f'{path}:nn.Dense', {'features': 1}).features == 1


@pytest.mark.parametrize(
  ('name', 'options', 'told'),
  [
    ('resnet999', {}, r"no network 'resnet999'; expected 'package.*ddrnet23_s"),
    ('resnet50', {}, r"'resnet50' needs the option num_classes"),
    ('resnet50', {'num_classes': 2, 'x': 3}, r'cannot have the options x'),
    ('none/net.py:make', {}, r'there is no file none/net\.py'),
    ('net.py', {}, r"no network 'net.py'; expected 'package.module:name'"),
    (':make', {}, r"':make' names no function"),
    ('@/net.py:', {}, r'names no function; expected'),
    (
      '@/net.py:mke',
      {},
      r"net\.py has no 'mke'; it has Options, Net, Graph, m",
    ),
    ('@/net.py:number', {}, r'number gives a int, expected a flax.linen or fl'),
    ('@/net.py:a_class', {}, r'a_class gives the class Net, expected a flax'),
    ('@/net.py:net', {'x': 1}, r'net is a Net, which takes no options'),
    ('@/net.py:__doc__', {}, r'__doc__ is a NoneType, which takes no options'),
    ('@/net.py:make', {}, r'make cannot be made with no options: make\(\) mis'),
    (
      '@/net.py:make',
      {'w': 1},
      r'cannot be made with the options w: make\(\) g',
    ),
    (
      '@/net.py:make',
      {'features': 'a'},
      r'options features: can only concaten',
    ),
    (
      '@/net.py:Graph',
      {'x': 1},
      r"options x: Graph.__init__.* unexpected .*'x'",
    ),
    ('@/broken.py:f', {}, r'broken\.py cannot be imported: SyntaxError: '),
    ('@/lacks.py:f', {}, r"lacks\.py cannot .* No module named 'not_there'"),
    ('@/exits.py:f', {}, r'exits\.py cannot be imported: SystemExit: 2'),
    ('@/text.txt:f', {}, r'text\.txt is no file of Python'),
    ('not_there:f', {}, r"there is no module 'not_there'"),
    ('flax.not_there:f', {}, r"there is no module 'flax.not_there'"),
    ('flax.linen:Nothing', {}, r"flax\.linen has no 'Nothing'"),
  ],
)
def test_what_is_wrong_is_told_in_a_sentence(folder, name, options, told):
  (folder / 'broken.py').write_text('def f(:\n')
  (folder / 'lacks.py').write_text('import not_there\n')
  (folder / 'exits.py').write_text('import sys\nsys.exit(2)\n')
  (folder / 'text.txt').write_text('f = 1')
  before = list(sys.path)
  with pytest.raises(ValueError, match=told) as error:
    brought.load(name.replace('@', str(folder)), options)
  assert '\n' not in str(error.value) and sys.path == before


def test_what_is_no_function_is_refused(folder):
  with pytest.raises(DeltaxError, match='__name__ is a str, no function'):
    brought.function(f'{folder}/net.py:__name__')
