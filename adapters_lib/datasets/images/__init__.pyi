from .cifar import (
    FOLDER as FOLDER,
    Cifar100 as Cifar100,
)
from .files import (
    EXTENSIONS as EXTENSIONS,
    MAX_PIXELS as MAX_PIXELS,
    ImageError as ImageError,
    ImageFiles as ImageFiles,
    check_files as check_files,
    check_max_pixels as check_max_pixels,
    read_image as read_image,
    upright_rgb as upright_rgb,
)
from .folder import (
    Check as Check,
    class_folders as class_folders,
    image_files as image_files,
    part_folders as part_folders,
    samples_of_folders as samples_of_folders,
)
from .lists import read_list as read_list
from .torchvision_sets import (
    SETS as SETS,
    TorchvisionSet as TorchvisionSet,
)
from .ultra_fgvc import EXPECTED as EXPECTED
from .vtab import CLASSES as CLASSES
