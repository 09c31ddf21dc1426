"""Relabelling as Prometheus 3 does it: rules that rewrite a label set, or drop what carries it.

`RelabelConfig` is one rule of a file; `compile_rules` makes rules ready to run; `relabel` runs them, and `trace` says
what each of them did. Regexes are RE2, anchored at both ends, and `.` matches a newline (`^(?s:…)$`); replacements
follow Go's `Regexp.Expand`.
Source: prometheus/model/relabel; Prometheus documentation, `<relabel_config>`.
"""

from pipeline.relabel.config import RelabelConfig, a_rule, compile_regex, is_label_name
from pipeline.relabel.rules import NO_RULES, Rules, as_labels, compile_rules, relabel, run
from pipeline.relabel.trace import Change, RuleStep, trace

__all__ = [
    "NO_RULES",
    "Change",
    "RelabelConfig",
    "RuleStep",
    "Rules",
    "a_rule",
    "as_labels",
    "compile_regex",
    "compile_rules",
    "is_label_name",
    "relabel",
    "run",
    "trace",
]
