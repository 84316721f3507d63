"""HTTP: what comes in becomes values, what goes out becomes bytes. SQL is made elsewhere (`store`, `logql`).

routes      the application: paths, tokens, headers
strangers   pages of other sites are refused
batches     POST /v1/batches
positions   GET /v1/positions
parameters  the parameters of GET requests: what there is, and what they mean as a LogQL tree
accept      the Accept header
bodies      bodies of requests that are small
forms       parameters in the body of a POST
times       durations and points in time, as people write them
steps       how far apart samples are, at least and where nobody says it
names       names of labels, where one is given alone
queries     GET /query; what puts the query side into the application
following   what requests to /tail and /context ask for
tails       GET /tail
context     GET /context
nodes       POST /v1/heartbeats; GET /nodes, /completeness
histogram   GET /histogram
deletions   POST, GET, DELETE /delete
scanned     what an answer says of the work it took
labels      GET /labels, /labels/{name}/values, /streams
turnstile   how many queries run and wait at a time
refusals    what the engine's failures are in HTTP
accounting  what is counted about queries
openapi     GET /openapi.json
described   what descriptions of paths are made of
described_following  how /tail and /context are described
described_deletions  how /delete is described
welcome     GET /
loki/       Loki's query API
"""
