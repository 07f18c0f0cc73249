-- The embedded store. Version 2.

create table if not exists runs(
  number      integer primary key,
  id          text not null unique,
  flow        text not null,
  version     text not null,
  code        text not null,           -- fingerprint of the flow's source
  status      text not null,           -- segue.core.lifecycle.Status
  reason      text,                    -- what a waiting run waits for
  worker      text,                    -- who owns it; null unless running
  origin      text not null,           -- the worker that created it
  parent      text,                    -- the run that called it
  priority    integer not null,
  concurrency integer,
  timeout     real,
  due         real not null,           -- not before; seconds since the epoch, as all times here
  created     real not null,
  started     real,                    -- first claim
  ended       real,
  claims      integer not null,
  claim_seq   integer not null,        -- the journal's length at the last claim
  losses      integer not null,        -- workers lost in a row, without progress between
  input       blob not null,
  result      blob,                    -- of a terminal run: its result or its failure
  checksum    integer not null,        -- crc32 of the input
  seal        integer,                 -- crc32 of the result
  fallbacks   integer not null default 0 -- results that did not come from the step itself
) strict;

create index if not exists runs_queued  on runs(priority desc, due, number) where status = 'queued';
create index if not exists runs_waiting on runs(due)                        where status = 'waiting';
create index if not exists runs_owned   on runs(worker)                     where worker is not null;
create index if not exists runs_parent  on runs(parent)                     where parent is not null;
create index if not exists runs_failed  on runs(number)                     where status = 'failed';
create index if not exists runs_cancelled on runs(number)                   where status = 'cancelled';
create index if not exists runs_flow    on runs(flow, number);
-- Each index that a completed run is in costs a page at its beginning and its end: so the rest are partial.

create table if not exists entries(
  run      text not null,
  seq      integer not null,
  kind     integer not null,           -- segue.core.entries.Kind
  step     text not null,
  attempt  integer not null,
  started  real not null,
  ended    real not null,
  input    blob,
  output   blob,
  checksum integer not null,           -- crc32 of step, input and output
  primary key(run, seq)
) strict, without rowid;

create table if not exists cells(
  name     text primary key,           -- a step and its input, for example
  at       real not null,
  body     blob not null,
  checksum integer not null            -- crc32 of the body
) strict, without rowid;

create table if not exists workers(
  id      text primary key,
  host    text not null,               -- boot and process namespace, so that a pid means something
  pid     integer not null,
  birth   integer not null,            -- when that process began, since pids are used again
  expires real not null
) strict, without rowid;
