"""What an operator wants of them: rules by globs, drops, redactions.

rules       what is to be done with a container's log, by globs
expression  a regex over many records at once
beginnings  whether records begin with what it matches
redaction   what is found and replaced
hints       where to look for it
readymade   redactions by name
sieve       drops and redacts the records of a round
"""
