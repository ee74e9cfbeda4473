"""Videos of other machines: found like those of this one, and told apart."""

import pytest

from deltax.data.video.find import find
from deltax.identity import identify
from deltax.systems import beam
from deltax.systems.beam.remote import AnyFiles, find_anywhere


def filled(bucket, *names):
  for name in names:
    bucket.files[f'bucket://{name}'] = name.encode()


def test_folders_files_and_patterns_are_found_by_their_names(bucket):
  filled(bucket, 'f/b.mp4', 'f/x/a.MKV', 'f/.x/h.mp4', 'f/t.txt', 'g/n')
  found, listed = find_anywhere(['bucket://f', 'bucket://g/n'])
  assert found.videos == {
    'b.mp4': 'bucket://f/b.mp4',
    'x/a.MKV': 'bucket://f/x/a.MKV',
    'n': 'bucket://g/n',
  }
  skipped = {reason: len(paths) for reason, paths in found.skipped.items()}
  assert skipped == {'hidden': 1, 'without the ending of a video': 1}
  assert set(listed) == set(found.videos.values())
  found, _ = find_anywhere(['bucket://f/*.mp4', 'bucket://f/'])
  assert list(found.videos) == ['b.mp4', 'x/a.MKV']
  found, _ = find_anywhere(['bucket://*/x/*'])
  assert list(found.videos) == ['f/x/a.MKV']


def test_names_are_told_apart_from_those_of_this_machine_too(bucket, tmp_path):
  filled(bucket, 'f/a.mp4')
  (tmp_path / 'a.mp4').write_bytes(b'another')
  found, _ = find_anywhere(['bucket://f', tmp_path])
  assert found.videos == {
    f'{tmp_path.name}/a.mp4': tmp_path / 'a.mp4',
    'f/a.mp4': 'bucket://f/a.mp4',
  }


def test_places_of_this_machine_are_found_as_without_beam(films):
  assert find_anywhere([films]) == (find([films]), {})


def test_a_file_is_what_it_is_wherever_it_lies(bucket, films):
  for name in ('1.mp4', 'empty.mp4'):
    bucket.files[f'bucket://{name}'] = (films / name).read_bytes()
  _, listed = find_anywhere(['bucket://1.mp4', 'bucket://empty.mp4'])
  files = AnyFiles(listed)
  for name in ('1.mp4', 'empty.mp4'):
    address = files.real(f'bucket://{name}')
    there, here = files.identify(address), identify(films / name)
    assert (there.size, there.content) == (here.size, here.content)
    assert files.is_as_it_was(there, address)
    assert not files.is_as_it_was(here, address)
    assert files.identify(files.real(films / name)) == here
  assert files.is_as_it_was(here, 'bucket://not/listed.mp4')


@pytest.mark.parametrize(
  ('place', 'message'),
  [
    ('bucket://none', 'bucket://none: no such file or folder'),
    ('bucket://f/*.avi', r'bucket://f/\*\.avi: no such file or folder'),
    ('bucket://t', 'no videos in bucket://t'),
    ('gs://films', r"gs://films: no file system.*'apache-beam\[gcp\]'$"),
    ('s3://films/a.mp4', r"s3://.*pip install 'apache-beam\[aws\]'$"),
    ('ftp://films/a.mp4', 'no file system of Beam for ftp:// is installed$'),
  ],
)
def test_what_is_not_there_is_told_in_a_sentence(
  bucket, tmp_path, place, message
):
  filled(bucket, 't/note.txt', 'f/a.mp4')
  with pytest.raises((FileNotFoundError, ValueError), match=message) as told:
    beam.index_files(tmp_path / 'i', [place])
  assert '\n' not in str(told.value)
