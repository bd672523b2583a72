from .checkpoint import (
    atomic_write as atomic_write,
    load_json as load_json,
    load_pretrained as load_pretrained,
    load_tensors as load_tensors,
    save_json as save_json,
    save_pretrained as save_pretrained,
    save_tensors as save_tensors,
)
from .hub import (
    download as download,
    is_hub_id as is_hub_id,
    model_card as model_card,
    push_to_hub as push_to_hub,
    write_card as write_card,
)
from .peft_format import (
    export_peft as export_peft,
    import_peft as import_peft,
)
