"""Kaplan-Meier curves by lifelines: lists of [seconds, started] in, lists of [seconds, surviving] at starts out."""

import json
import sys

from lifelines import KaplanMeierFitter

curves = []
for waits in json.load(sys.stdin):
    fitter = KaplanMeierFitter()
    fitter.fit([seconds for seconds, _ in waits], [started for _, started in waits])
    starts = fitter.event_table[fitter.event_table["observed"] > 0].index
    curves.append([[float(at), float(fitter.survival_function_.loc[at].iloc[0])] for at in starts])
json.dump(curves, sys.stdout)
