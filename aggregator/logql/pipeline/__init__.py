"""What every stage of a pipeline means, record by record: for whatever the engine's SQL cannot say exactly as Loki.

pipeline     `Pipeline`: stages compiled once, then run on each record
stages       what a compiled stage is, and the error of one that cannot be compiled
labels       the labels of a record while it passes: of its stream, its metadata, parsed; what went wrong
lines        line filters
addresses    IP addresses, ranges and blocks, found in text
conditions   label filters
jsontext     JSON, read as leniently as Loki reads it
json_parser  `json`
logfmt       `logfmt`
regexp       `regexp`
pattern      `pattern`, and the patterns of line filters
unpack       `unpack`
formats      `line_format`, `label_format`, `decolorize`, `drop`, `keep`
unwrap       a label as the value of a sample
template     Go's text templates, compiled
scanner      the tokens of a template
literals     the texts and numbers that stand in a template
actions      what the parts of a template do when it is written
values       the values of templates: how Go prints and converts them
functions    the functions of templates
strings      Go's functions on strings
printf       Go's formatting verbs
dates        times, and Go's layouts of them
"""
