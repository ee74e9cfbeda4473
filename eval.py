"""Evaluates a run: prints its table, writes results.json and report.html.

    python eval.py --config=configs/demo_delta.py --workdir=runs/delta

The config and its overrides are those of the training; `--report` names
another place for the page.
"""

import functools
import pathlib

from absl import app, flags, logging
from ml_collections import config_flags

from deltax import compilation, experiment, files, report, tasks, training
from deltax.errors import told_in_one_sentence
from deltax.progress import wants_bar
from deltax.tasks.retrieval import report as retrieval_report

config_flags.DEFINE_config_file('config', None, 'What was trained.')
flags.DEFINE_string('workdir', None, 'Folder of the run.')
flags.DEFINE_string('report', None, 'The page; WORKDIR/report.html by default.')
flags.mark_flags_as_required(['config', 'workdir'])


def main(_) -> None:
  logging.set_verbosity(logging.INFO)
  config = flags.FLAGS.config.to_dict()
  workdir = pathlib.Path(flags.FLAGS.workdir)
  path = pathlib.Path(flags.FLAGS.report or workdir / 'report.html')
  with told_in_one_sentence('eval.py'):
    compilation.set_up()
    _evaluate(config, workdir, path)


def _evaluate(config, workdir, path) -> None:
  if 'judge' in config:
    page = retrieval_report.make_report(
      experiment.judged(config, workdir),
      title=config['title'],
      progress=wants_bar(),
    )
    files.write_json(workdir / 'results.json', report.to_json(page))
    report.write_retrieval_page(path, page)
    print(report.retrieval_text(page))
  else:
    page = _video(config, workdir)
    results = report.to_json(page.results)
    files.write_json(workdir / 'results.json', results)
    report.write(path, page)
    print(report.table(page.results))
    print(f'\n{report.details(page.results)}')
  print(f'\nThe page: {path}')


def _video(config, workdir):
  built = experiment.build(config)
  checkpoint = training.find_checkpoint(workdir)
  logging.info('evaluating %s', checkpoint)
  return tasks.make_report(
    *training.restore_params(checkpoint),
    title=config['title'],
    options=built.options,
    task=built.task,
    evaluate=functools.partial(training.evaluate, progress=wants_bar()),
    dataset=experiment.dataset(config, 'evaluation'),
    data_name=config['data']['name'],
    metrics=training.read_metrics(workdir),
  )


if __name__ == '__main__':
  app.run(main)
