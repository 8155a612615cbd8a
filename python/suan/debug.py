"""Looking inside: counters, saved bytes, memory, the user's line."""

from . import _c

apply_counters = _c.apply_counters
saved_bytes = _c.saved_bytes
user_line = _c.user_line
cpu_isa = _c.cpu_isa
memory_stats = _c.memory_stats
reset_peak_memory = _c.reset_peak_memory
trim_memory = _c.trim_memory
set_memory_limit = _c.set_memory_limit
