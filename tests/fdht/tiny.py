"""A preset that trains in no time; importing this registers it, also in a process of its own."""

from fdht.model.presets import PRESETS, Preset
from fdht.spec.lstm import fdht_lstm

TINY = Preset("tiny", "digits", fdht_lstm(8, 4, 10, (4, 3), (4, 4), 2), epochs=2, clips_per_epoch=4, batch=2)
PRESETS[TINY.name] = TINY
