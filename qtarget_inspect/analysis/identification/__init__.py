"""Identification: from a black-box loss to its row of the table.

states      probe states made to tell laws apart          -> observation   the loss's gradient on them
support     the fewest directions that explain it         <- families      directions with a number to be found
spans       what sets of directions leave                 -> screening     a first look at all members of a family
weights     the weight of each direction, token by token  -> samples       a weight with its uncertainty
law_search  the simplest law of a weight                  <- forms*        what a law may look like
switches    what turns a weight on and off                <- locating      where, by asking the loss again
procedure   identify(loss), all of it                     -> result        what a user sees
"""

from qtarget_inspect.analysis.identification.procedure import identify
from qtarget_inspect.analysis.identification.result import Formula, Identification, Neighbour

__all__ = ["Formula", "Identification", "Neighbour", "identify"]
