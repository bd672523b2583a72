"""What the tests of video data share: one short film under many names, and loading that turns warnings
into errors."""

import shutil
import warnings

from adapters_lib.datasets.load import load_data


def put(film, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(film, path)


def quiet(*args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_data(*args, image_size=16, **kwargs)
