from fly64_assets.api.advising import advise as advise
from fly64_assets.api.files import read as read
from fly64_assets.api.files import read_base as read_base
from fly64_assets.api.files import write as write
from fly64_assets.api.frames import simulate as simulate
from fly64_assets.api.frames import split_counts as split_counts
from fly64_assets.api.judging import judge as judge
from fly64_assets.api.judging import photon_limit as photon_limit
from fly64_assets.api.judging import predict as predict
from fly64_assets.api.methods import reconstruct as reconstruct
from fly64_assets.api.studies import open_study as open_study
from fly64_assets.api.studies import show as show

__version__: str
