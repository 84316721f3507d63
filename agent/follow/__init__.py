"""Which files there are on the node, and how far each is read.

discovery    which containers the node has, and the files of each
generations  what a file's name says: live, rotated, gzipped; in which order to read them
inotify      news that a directory changed, or a file was written to
watch        when to scan
identity     the source of a file, from its own first line
tail         rounds of reading the files that are followed
looking      looks at them: which have grown, which containers are to be looked over
asking       who is asked for its size, and how often
bell         rings when a file that sleeps is written to
succession   in which order the files of a container follow each other
following    the files of every container as they come, are renamed, copied, truncated, and go away
deleted      how long deleted files are held open
holding      files of which lines are held back
gaps         what is lost for good, until the store has been told
rate         how fast the logs of a pod are read
logfile      one followed file: where reading stands, its open partial lines
gzipped      a compressed one, unpacked as it is read
unpacking    which of them are, at once
rounds       what one reading gives: records, and whose they are
"""
