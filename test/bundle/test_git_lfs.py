"""A folder cloned without Git LFS is named as such, wherever a folder is opened."""

from __future__ import annotations

import pytest
from tiny_bundle import write_tiny_bundle

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.bundle.git_lfs import is_pointer, pointer_words, pointers_in
from dysl_vla_ros.errors import BundleError

POINTER = f'version https://git-lfs.github.com/spec/v1\noid sha256:{"0" * 64}\nsize 302242674\n'


@pytest.mark.parametrize('name', ['manifest.json', 'tokenizer.json', 'segments/head.onnx'])
def test_a_pointer_in_a_bundle_is_named_with_the_remedy(tmp_path, name):
    folder = write_tiny_bundle(tmp_path / 'bundle')
    (path,) = [p for p in folder.rglob('*') if p.relative_to(folder).as_posix().endswith(name)]
    path.write_text(POINTER)
    with pytest.raises(BundleError, match=f'{name.split("/")[-1]}: .*LFS pointer for 302242674 '
                       'bytes.* git lfs pull'):  # fmt: skip
        open_bundle(folder)


def test_other_small_files_are_no_pointers(tmp_path):
    plain, pointer = tmp_path / 'a.txt', tmp_path / 'b.bin'
    plain.write_text('version 1\nsize 3\n')
    pointer.write_text(POINTER)
    assert not is_pointer(plain) and not is_pointer(tmp_path) and not is_pointer(tmp_path / 'c')
    assert pointer_words(plain) == ''
    assert pointers_in(tmp_path) == (pointer,)


def test_a_pointer_without_a_size_is_still_one(tmp_path):
    path = tmp_path / 'a.bin'
    path.write_text(POINTER.split('oid')[0])
    assert pointer_words(path).startswith('this is a Git LFS pointer, not the file')
