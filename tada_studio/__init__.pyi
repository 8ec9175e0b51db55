from .base_model.inputs import read_inputs as read_inputs
from .base_model.model import Base as Base
from .core.gates import Gates as Gates
from .core.gates import gates as gates
from .core.methods import METHODS as METHODS
from .errors import AdapterError as AdapterError
from .errors import BaseError as BaseError
from .errors import ExportError as ExportError
from .errors import InputError as InputError
from .errors import MismatchError as MismatchError
from .errors import RecipeError as RecipeError
from .errors import TadaError as TadaError
from .evaluation.choice import Item as Item
from .evaluation.items import read_items as read_items
from .evaluation.scores import Score as Score
from .exporting.certify import Certificate as Certificate
from .lora import Adapter as Adapter
from .lora import LoraModule as LoraModule
from .lora import Pair as Pair
from .pipeline.exporting import export as export
from .pipeline.exporting import push as push
from .pipeline.exporting import verify as verify
from .pipeline.merge import Merge as Merge
from .pipeline.merge import merge as merge
from .pipeline.opening import load_base as load_base
from .pipeline.opening import read_adapter as read_adapter
from .pipeline.opening import read_pair as read_pair
from .pipeline.probing import probe as probe
from .pipeline.scoring import evaluate as evaluate
from .pipeline.tuning import search as search
from .probing import Readings as Readings
from .progress import Progress as Progress
from .recipe import Recipe as Recipe
from .sample_pairs import samples as samples
from .session.session import Session as Session

__version__: str
__all__: list[str]
