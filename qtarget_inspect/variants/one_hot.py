"""The category one-hot: the label, and nothing but the label."""

from qtarget_inspect import losses
from qtarget_inspect.variants.claim_terms import constant
from qtarget_inspect.variants.claims import Claim
from qtarget_inspect.variants.variant import Variant
from qtarget_inspect.vocabulary import directions
from qtarget_inspect.vocabulary.pulls import Pulls

VARIANTS = (
    Variant(
        name="sft",
        title="SFT",
        loss=losses.sft,
        category="one-hot",
        make_pulls=lambda: Pulls.of((directions.label(), 1.0)),
        make_claim=lambda: Claim("both", "1", "1", "-", "-", gamma=lambda s: constant(1.0, s)),
        formula="-log p_y",
        latex=r"-\log p_y",
        reference="maximum likelihood",
        source="paper",
    ),
)
