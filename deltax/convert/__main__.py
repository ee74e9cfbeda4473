"""`python -m deltax.convert NAME FILE OUT`: the same as `deltax convert`."""

import sys

from deltax.commands import main

if __name__ == '__main__':
  main(['convert', *sys.argv[1:]])
