"""What docs/results.md says of itself: where it comes from, and how its tables are read."""

from __future__ import annotations

from percbal.report.evidence_levels import FEW
from percbal.study.contrasts import LEAST, LEVEL
from percbal.study.registration import Contrast

MARGIN = Contrast.margin
HEAD = """# Results

*Made by `percbal study --page docs` from the committed lines of [results/](results) and from what
was said before the runs in [studies/](studies); a test makes it again and compares. Below:
[how to read the tables](#how-to-read-the-tables). In study.md:
[the words of the tables](study.md#words-of-the-results),
[how to add runs](study.md#registered-studies).*
"""
HOW_TO_READ = f"""## How to read the tables

**Predictions.** Before the runs we wrote down a sign for each contrast, and how likely we held it.
A predicted + or - comes true if the effect has that sign and is significant. A predicted 0 comes
true if the whole interval lies within ±{100 * MARGIN:g} points. Only accuracies can get a 0. "Not
significant" is a third outcome, so a sign held at 40% can still be the likeliest one. "open" says
that too few starts tell.

**Effects.** Each start gives one difference. The effect is their mean, ± half of Student's 95% t
interval over starts. Differences of accuracies are in points. Those of correlations and shares are
fractions. Under GRPO exact a_p is compared in log-odds. Two figures of one run have both means in
brackets. Tables of arms list the values of {FEW} starts or fewer, in the order of their seeds, in
place of the interval. A start whose run lacks the figure, as a correlation of what does not vary,
leaves no difference, and counts as run.

**p.** It is that of t, over {LEAST} starts or more. Primary contrasts are **bold**. Their p is
corrected by Holm within their file; one that is not complete counts there as 1. Other contrasts are
not corrected. "Starts" counts those that have the difference, of those planned.

**Verdicts.** They are on the paper's finding (arXiv:2605.29496), by a rule. Significant is a p
below {LEVEL:g}.

- *reproduced*: significant, with the paper's sign. Where the paper reports no difference: as good
  as 0, which is an interval within ±{100 * MARGIN:g} points;
- *reversed*: significant, with the opposite sign;
- *direction only*: the paper's sign, not significant, and not as good as 0;
- *not reproduced*: not significant, and without the paper's sign or as good as 0. Where the paper
  reports no difference: not as good as 0;
- *no finding of the paper*: the paper says nothing of it, or gives no sign. A contrast with the
  number of a finding counts as + where its file has no other `paper`; `?` is no sign;
- *too few starts*: fewer than half of the planned starts, or than {LEAST}, have the difference;
- *no start*: every planned start missed its competence;
- *cannot be tested here*: said beforehand, and why;
- *not complete yet*: some planned starts lack their runs. A primary contrast that is not
  significant also waits for the others of its file: its p can still become smaller, and never
  larger. So no verdict changes once it stands here.

A reproduced sign says nothing about the value: it can be far from the paper's. Pooled correlations
mostly restate the accuracies, their echo
([coupling.md](coupling.md#does-the-correlation-only-restate-the-accuracies)); the within-group ones
stand beside them.

A verdict is on one contrast. Whether the contrasts carry the whole sentence that stands above them,
the remarks below them say. Where a itself is a few percent, as in the dose study, ±{100 * MARGIN:g}
points is much: there "as good as 0" says little.

The margin of ±{100 * MARGIN:g} points and the level of {LEVEL:g} are set in the program, and not
in the files.
"""
