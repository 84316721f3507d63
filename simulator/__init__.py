"""Writes a pods tree as a kubelet would, and knows exactly what it wrote: for the demo, the tests and the benchmarks.

messages  text like that of real programs
lines     what a container says, every line checkable on its own
runtimes  how containerd, CRI-O and Docker put lines into a file
kubelet   a container's log files with containerd or CRI-O: directories, rotation, compression, restarts
docker    the same with Docker: symlinks into a tree of its own, numbered generations
pods      which pods there are
node      pods that write: lines through a runtime into files, and the count of them
ledger    what was written, and the check of what a store gives back
children  processes started, watched and stopped
demo      aggregator, agent and, where there are no pods, a simulated node; until Ctrl-C
"""
