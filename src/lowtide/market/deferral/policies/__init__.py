"""The deferral policies by name. A new one is one file here plus its line below, after those that it hears."""

from lowtide.market.deferral.policies.corrected_markov import CorrectedMarkov
from lowtide.market.deferral.policies.forecast_path import ForecastPath, LinearForecastPath
from lowtide.market.deferral.policies.k_search import KSearch
from lowtide.market.deferral.policies.longstaff_schwartz import LongstaffSchwartz
from lowtide.market.deferral.policies.markov import CHAINS, Markov, MarkovMedian
from lowtide.market.deferral.policies.robust_clip import RobustClip
from lowtide.market.deferral.policies.run_now import CheapestKnown, RunNow
from lowtide.market.deferral.policies.seasonal import SeasonalMedian
from lowtide.market.deferral.policies.stacked import Stacked
from lowtide.market.deferral.policy import Policy

_ALL: tuple[Policy, ...] = (
    RunNow(),
    CheapestKnown(),
    SeasonalMedian(),
    KSearch(),
    Markov(),
    *CHAINS,
    MarkovMedian(),
    RobustClip(),
    CorrectedMarkov(),
    ForecastPath(),
    LinearForecastPath(),
    LongstaffSchwartz(),
    Stacked(),
)
POLICIES: dict[str, Policy] = {policy.name: policy for policy in _ALL}

# They look back by the hour: slots must divide one.
LEARNED = frozenset({"forecast_path", "forecast_path_linear", "longstaff_schwartz"})
