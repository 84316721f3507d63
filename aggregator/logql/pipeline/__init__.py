"""What every stage of a pipeline means, record by record: for whatever the engine's SQL cannot say exactly as Loki.

pipeline    `Pipeline`: stages compiled once, then run on each record
labels      the labels of a record while it passes: of its stream, its metadata, parsed; what went wrong
lines       line filters
addresses   IP addresses, ranges and blocks, found in text
conditions  label filters
jsontext    the lenient reading of JSON that Loki does
json_parser, logfmt, regexp, pattern, unpack
            the parsers
formats     line_format, label_format, decolorize, drop, keep
unwrap      a label as the value of a sample
template    Go's text templates: what is written into closures
scanner     the tokens of a template
values      the values of templates: how Go prints, compares and converts them
functions   the functions of templates
strings     Go's functions on strings
dates       Go's time layouts
printf      Go's formatting verbs
stages      the error of a stage that cannot be compiled; what a compiled stage is
"""
