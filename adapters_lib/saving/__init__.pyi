from .card import (
    CARD as CARD,
    model_card as model_card,
    write_card as write_card,
)
from .checkpoint import (
    load_pretrained as load_pretrained,
    save_pretrained as save_pretrained,
)
from .export import (
    FORMATS as FORMATS,
    META as META,
)
from .header import (
    Header as Header,
    make_header as make_header,
    read_header as read_header,
)
from .hub import (
    download as download,
    explained as explained,
    is_hub_id as is_hub_id,
)
from .peft_format import (
    export_peft as export_peft,
    import_peft as import_peft,
)
from .push import push_to_hub as push_to_hub
from .tensors import (
    load_tensors as load_tensors,
    save_tensors as save_tensors,
)
