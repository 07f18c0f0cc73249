-- The customers of Harbor, an invented cloud storage service, and what they were charged.
CREATE TABLE accounts (
    email TEXT PRIMARY KEY,
    name  TEXT NOT NULL,
    plan  TEXT NOT NULL,
    card  TEXT NOT NULL
) STRICT;

CREATE TABLE invoices (
    number TEXT PRIMARY KEY,
    email  TEXT NOT NULL REFERENCES accounts,
    day    TEXT NOT NULL,
    cents  INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('paid', 'failed', 'refunded'))
) STRICT;

CREATE INDEX invoices_of_account ON invoices (email, day);

INSERT INTO accounts VALUES
    ('ada@example.com',   'Ada',   'Team', 'Visa ending in 4242'),
    ('bo@example.com',    'Bo',    'Solo', 'Mastercard ending in 0005'),
    ('chen@example.com',  'Chen',  'Team', 'direct debit'),
    ('dina@example.com',  'Dina',  'Solo', 'Visa ending in 1881'),
    ('emeka@example.com', 'Emeka', 'Free', 'no card');

INSERT INTO invoices VALUES
    ('INV-2031', 'ada@example.com',  '2026-10-01', 4900, 'paid'),
    ('INV-2052', 'ada@example.com',  '2026-11-01', 4900, 'paid'),
    ('INV-2053', 'ada@example.com',  '2026-11-01', 4900, 'paid'),      -- charged twice
    ('INV-2040', 'bo@example.com',   '2026-10-12', 1200, 'paid'),
    ('INV-2071', 'bo@example.com',   '2026-11-12', 1200, 'failed'),    -- card declined
    ('INV-2055', 'chen@example.com', '2026-11-02', 9800, 'paid'),      -- nothing wrong
    ('INV-2048', 'dina@example.com', '2026-10-28', 1200, 'paid'),
    ('INV-2077', 'dina@example.com', '2026-11-15', 1200, 'refunded');  -- money on its way
