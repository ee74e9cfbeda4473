"""Every test runs on four fake CPU devices, with strict checks of jax.

Programs run a few times each, so they are compiled fast rather than made fast:
less than half of the work where compiling is most of it. Processes that tests
start take the same flags from QUICK_COMPILATION.
"""

import contextlib
import importlib.metadata
import logging
import os
import pathlib
import resource
import tempfile

# A decomposition of a small matrix is 50 times slower on busy threads.
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
os.environ['QUICK_COMPILATION'] = '--xla_backend_optimization_level=0'
if importlib.metadata.version('jaxlib') < '0.11':  # later ones refuse the flag
  os.environ['QUICK_COMPILATION'] += ' --xla_cpu_use_fusion_emitters=false'
os.environ.setdefault(
  'XLA_FLAGS',
  '--xla_force_host_platform_device_count=4 ' + os.environ['QUICK_COMPILATION'],
)

import jax
import pytest
from absl import logging as absl_logging

jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_debug_key_reuse', True)
_cache = pathlib.Path(
  os.environ.get('JAX_COMPILATION_CACHE_DIR')
  or pathlib.Path(tempfile.gettempdir()) / 'deltax_test_cache'
)
# Parallel workers have one each: files are not written all at once.
_cache /= os.environ.get('PYTEST_XDIST_WORKER', '')
jax.config.update('jax_compilation_cache_dir', str(_cache))
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


@pytest.fixture(autouse=True)
def fresh_log():
  """Every test begins with the log of a fresh process.

  Commands and the preparation of data set absl's verbosity, and with it a level
  that hides from later tests what they wait for.
  """
  absl_logging.set_verbosity(absl_logging.WARNING)
  logger = absl_logging.get_absl_logger()
  logger.setLevel(logging.NOTSET)
  logger.propagate = True


@pytest.fixture
def full_disk():
  """`with full_disk() as fill:` no file grows after `fill()`; for root too.

  An error then says 'File too large', where a full disk has 'No space left'.
  """

  @contextlib.contextmanager
  def full():
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
      yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    finally:
      resource.setrlimit(resource.RLIMIT_FSIZE, before)

  return full


@pytest.fixture(scope='module', autouse=True)
def bounded_memory():
  """Compiled programs would come to many gigabytes; the cache on disk stays."""
  yield
  jax.clear_caches()
