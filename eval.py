"""Evaluates a run: prints its table, writes results.json and report.html.

    python eval.py --config=configs/demo_delta.py --workdir=runs/delta

The config and its overrides are those of the training; `--report` names
another place for the page.
"""

import pathlib

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from deltax import experiment, files, processes, report
from deltax.errors import parse_flags
from deltax.progress import wants_bar
from deltax.tasks.retrieval import report as retrieval_report

config_flags.DEFINE_config_file('config', None, 'What was trained.')
flags.DEFINE_string('workdir', None, 'Folder of the run.')
flags.DEFINE_string('report', None, 'The page; WORKDIR/report.html by default.')
processes.define_flags()
flags.mark_flags_as_required(['config', 'workdir'])


def main(_) -> None:
  logging.set_verbosity(logging.INFO)
  config = flags.FLAGS.config.to_dict()
  workdir = pathlib.Path(flags.FLAGS.workdir)
  path = pathlib.Path(flags.FLAGS.report or workdir / 'report.html')
  with processes.together('eval.py', *processes.given()):
    _evaluate(config, workdir, path)


def _evaluate(config, workdir, path) -> None:
  first = jax.process_index() == 0
  if 'judge' in config:
    if not first:
      return  # what the first process compares is not shared out
    page = retrieval_report.make_report(
      experiment.judged(config, workdir),
      title=config['title'],
      progress=wants_bar(),
    )
    files.write_json(workdir / 'results.json', report.to_json(page))
    report.write_retrieval_page(path, page)
    print(report.retrieval_text(page))
    print(f'\nThe page: {path}')
  else:
    page = experiment.evaluate(config, workdir)
    if first:
      experiment.write_page(page, workdir, path)


if __name__ == '__main__':
  app.run(main, flags_parser=parse_flags)
