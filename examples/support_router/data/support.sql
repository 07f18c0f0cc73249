-- What the technical branch searches: error logs by customer, and the knowledge base. The porter tokenizer lets
-- "uploading" find "upload"; bm25() ranks.
CREATE VIRTUAL TABLE error_logs USING fts5(email UNINDEXED, at UNINDEXED, code, message, tokenize = 'porter');
CREATE VIRTUAL TABLE articles USING fts5(title, advice, tokenize = 'porter');

INSERT INTO error_logs VALUES
    ('ada@example.com',   '2026-11-21 08:14', 'E413', 'upload refused: file of 3.1 GB is larger than the plan allows'),
    ('ada@example.com',   '2026-11-18 17:40', 'E401', 'login refused: password expired'),
    ('bo@example.com',    '2026-11-20 22:03', 'E409', 'sync stopped: two devices changed budget.xlsx, conflict not resolved'),
    ('bo@example.com',    '2026-11-19 09:11', 'E507', 'client start failed: disk full, cache needs 500 MB'),
    ('chen@example.com',  '2026-11-21 11:30', 'E429', 'API request refused: 1,204 requests in one minute, limit 600'),
    ('chen@example.com',  '2026-11-17 03:00', 'E502', 'webhook delivery failed: your endpoint answered 404'),
    ('dina@example.com',  '2026-11-22 07:58', 'E498', 'login refused: two-factor code wrong, clock of the phone is 190 s behind'),
    ('emeka@example.com', '2026-11-16 14:22', 'E507', 'upload refused: storage quota of 5 GB is used up');

INSERT INTO articles VALUES
    ('Uploading large files', 'Solo accepts files up to 2 GB, Team up to 20 GB with "large uploads" switched on under Settings, Transfers.'),
    ('Upload stops with a network error', 'Transfers resume where they stopped. Let HTTPS to port 443 through any proxy and turn off its scanning of uploads.'),
    ('Your storage is full', 'Empty the trash, which counts towards the quota, or set folders to online only to free the local disk.'),
    ('When sync is stuck', 'Pause and resume sync. If one file holds up the others it is open elsewhere: close it, then choose Resolve.'),
    ('Conflicted copies', 'Two devices changed the same file. Open both copies, keep one, and delete the other; sync then continues.'),
    ('Resetting your password', 'Choose "Forgot password" on the login page. The link works for one hour and only in the browser that asked for it.'),
    ('Two-factor codes are refused', 'Codes depend on the clock: set the date and time of the phone to automatic. Lost your phone? Log in with a recovery code.'),
    ('Single sign-on loops', 'The redirect address at your identity provider must match ours to the letter, with https and without a slash at the end.'),
    ('API answers 429: too many requests', 'Each key may send 600 requests a minute. Wait for the seconds in the Retry-After header, and list folders in pages.'),
    ('API answers 401 or 403: keys and tokens', 'Access tokens expire after an hour; use the refresh token. A key also needs the scope "files" for file requests.'),
    ('Webhooks do not arrive', 'An endpoint that fails five times is switched off. Mend it, then press Resume under Settings, Webhooks.'),
    ('The desktop client does not start', 'Make sure that 500 MB of disk are free, then start it once with the Shift key held down to rebuild its cache.'),
    ('The mobile app crashes', 'Update to version 8.3: earlier ones crash when a photo has no date. Your files are not affected.'),
    ('Recovering a deleted file', 'Deleted files stay in the trash for 30 days; earlier versions of a file are under its menu, Version history.'),
    ('Shared links: access denied', 'The owner has limited the link to the team. Ask for "anyone with the link", or sign in with your team account.'),
    ('Search does not find a document', 'New documents are indexed within ten minutes. Scanned pages are searchable on Team only.'),
    ('The web page stays white or shows an error', 'Reload with the Shift key held down, then try a private window: an extension of the browser is often the cause.'),
    ('Cannot log in, or logged out again and again', 'Check the caps lock, allow cookies for our site, and update the app. Sessions end when your password changes.'),
    ('Sync is slow', 'The first sync of many small files takes hours; later ones take seconds. Raise the speed limit under Settings, Transfers.'),
    ('High memory and CPU load while indexing', 'The computer works hard, and its fan is loud, until all files are indexed once. Pause indexing under Settings.'),
    ('Installing on Windows, Mac and Linux', 'Run the installer as administrator. On Linux without a desktop use the command line tool, its config file is ~/.harbor.'),
    ('Notifications on Android and iPhone', 'Allow notifications for Harbor in the settings of the phone, and take the app out of battery saving.'),
    ('Previews and thumbnails are missing or black', 'Previews of photos and videos are made within an hour. Formats that no browser plays have none; download the file.'),
    ('Downloads: broken or empty zip archives', 'Archives over 4 GB need a newer unpacker. Download folders that large with the desktop client instead.'),
    ('Server errors 500 and 502', 'These are ours and short: repeat the request after a minute. The status page tells of longer trouble with the API.'),
    ('Files or folders have disappeared', 'Look in the trash, and under Activity for who moved them. Folders of a left team go with the team.'),
    ('Access denied in a team folder', 'Only editors can save there. The owner of the folder gives permission under Share, Members.'),
    ('Firewall, ports and certificate warnings', 'The client needs port 443 out. A certificate warning means that a proxy reads your traffic: ask its administrator.');
