"""Every test runs on four fake CPU devices, with strict checks of jax."""

import os
import pathlib
import tempfile

# A decomposition of a small matrix is 50 times slower on busy threads.
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
os.environ.setdefault('XLA_FLAGS', '--xla_force_host_platform_device_count=4')

import jax

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
