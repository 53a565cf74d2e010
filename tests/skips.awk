# "Suite.Case: reason" of each test that a GoogleTest program skipped, from its output: it prints "file:line: Skipped",
# the reason's lines, then "[  SKIPPED ] Suite.Case (0 ms)".
/: Skipped$/ { reason = ""; open = 1; next }
/^\[  SKIPPED \] .* \([0-9]+ ms\)$/ { print $4 ": " reason; open = 0; next }
open && NF { reason = reason (reason == "" ? "" : " ") $0 }
