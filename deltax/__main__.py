"""`python -m deltax`: the same as the `deltax` command."""

from deltax.commands import main

if __name__ == '__main__':
  main()
