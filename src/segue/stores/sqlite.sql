-- The embedded store. Version 5.

create table if not exists runs(
  number      integer primary key,
  id          text not null unique,
  flow        text not null,
  version     text not null,
  code        text not null,           -- fingerprint of the flow's source
  status      text not null,           -- segue.core.lifecycle.Status
  reason      text,                    -- what a waiting run waits for; of a failed one: that nothing more is done
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
  fallbacks   integer not null default 0, -- results that did not come from the step itself
  step        text,                    -- of a failed run: the name of the step that ended it, …
  error       text,                    -- … and the error's class
  key         text,                    -- runs of a flow with one key go one at a time, in the order of their numbers
  frees       integer not null default 0, -- 1: another of its key may go while it waits
  merges      integer not null default 0, -- 1: others of its key take it along, 2: it took some, which its input lacks
  expires     real                     -- if it has not begun by then it never does
) strict;

create index if not exists runs_queued  on runs(priority desc, due, number) where status = 'queued';
create index if not exists runs_suspect on runs(priority desc, due, number) where status = 'queued' and losses > 1;
create index if not exists runs_waiting on runs(due)                        where status = 'waiting';
create index if not exists runs_owned   on runs(worker)                     where worker is not null;
create index if not exists runs_parent  on runs(parent)                     where parent is not null;
create index if not exists runs_failed  on runs(number)                     where status = 'failed';
create index if not exists runs_dead    on runs(flow, step, error, number)  where status = 'failed' and reason is null;
create index if not exists runs_cancelled on runs(number)                   where status = 'cancelled';
create index if not exists runs_expired on runs(number)                     where status = 'expired';
create index if not exists runs_flow    on runs(flow, number);
create index if not exists runs_lane    on runs(flow, key, status, number) where key is not null and ended is null;
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

create table if not exists seen(
  flow  text not null,
  once  text not null,                 -- an event
  run   text not null,                 -- the first that was made for it
  until real not null,                 -- so long it is the same event
  primary key(flow, once)
) strict, without rowid;

create index if not exists seen_until on seen(until);

create table if not exists mail(
  number   integer primary key,
  run      text not null,              -- to whom
  once     text not null,              -- the first of this name wins; others are told so
  name     text not null,              -- what it is for
  body     blob not null,
  sent     real not null,
  checksum integer not null,           -- crc32 of the body
  taken    integer not null default 0, -- the run has it in its journal
  unique(run, once)
) strict;

create index if not exists mail_new on mail(run) where taken = 0;

create table if not exists questions(
  number   integer primary key,
  id       text not null unique,
  run      text not null,
  flow     text not null,
  step     text not null,
  attempt  integer not null,
  assignee text,                       -- whose it is; null: anybody's
  asked    real not null,
  due      real,                       -- an answer is waited for until then
  body     blob not null,              -- what is shown
  checksum integer not null,           -- crc32 of the body
  decided  real,                       -- null while it is open
  by       text,                       -- who did; null where nobody answered
  decision blob                        -- null where the question was withdrawn
) strict;

create index if not exists questions_open on questions(number) where decided is null;
create index if not exists questions_run  on questions(run);

create table if not exists rejects(
  number   integer primary key,
  source   text not null,              -- where it came from: a webhook's path, a file
  at       real not null,
  reason   text not null,
  flow     text,                       -- for which flow it was meant
  body     blob not null,              -- what came, or its beginning
  size     integer not null,           -- bytes of all that came
  checksum integer not null,           -- crc32 of the body
  dealt    text,                       -- what was done about it; null: nothing yet
  once     text                        -- the same thing that comes again is not written again
) strict;

create index if not exists rejects_open on rejects(number) where dealt is null;
create unique index if not exists rejects_once on rejects(once);

create table if not exists schedules(
  name    text primary key,            -- a flow and one of its triggers
  upto    real not null,               -- ticks until then were dealt with
  planned real not null                -- ticks until then are being dealt with; as upto if none are
) strict, without rowid;

create table if not exists workers(
  id      text primary key,
  host    text not null,               -- boot and process namespace, so that a pid means something
  pid     integer not null,
  birth   integer not null,            -- when that process began, since pids are used again
  expires real not null
) strict, without rowid;
