"""What is wrong with the database, in Japanese, and what to do about it."""

from __future__ import annotations

from typing import Final

_UNFIT: Final = "PostgreSQL のデータベースの文字コードが {0}、照合順序が {1}、ctype が {2} です"
_FIT: Final = "UTF8、バイト順の照合順序、C でない ctype が必要です"

OF_DATABASE: Final[dict[str, str]] = {
    "the PostgreSQL database has encoding {}, collation {} and ctype {}; it needs UTF8, texts in the order of their "
    "bytes, and a ctype that is not C: {}": f"{_UNFIT}。{_FIT}: {{3}}",
    "the PostgreSQL database has encoding {}, collation {} and ctype {} of ICU; it needs UTF8, texts in the order of "
    "their bytes, and a ctype that is not C: {}": f"{_UNFIT} (ICU のもの)。{_FIT}: {{3}}",
    "the PostgreSQL database shows no schema: its search_path is {}, of which none exists or may be used; ALTER DATABASE "
    "or ALTER ROLE ... RESET search_path, or GRANT USAGE ON SCHEMA":
        "PostgreSQL データベースのスキーマが見えません。search_path は {0} ですが、どれも存在しないか、使う権利がありません。ALTER DATABASE または "
        "ALTER ROLE ... RESET search_path か、GRANT USAGE ON SCHEMA を実行してください",
    "the index at {} failed: {}": "インデックス {0} が使えません: {1}",
    "the decision about study {} is on the volumes already, and takes effect with the next one: once the index is back, "
    "ask for it again":
        "検査 {0} についての決定はすでにボリュームに書かれており、次の決定のときに有効になります。インデックスが戻ったら、もう一度実行してください",
    "a process of the server ended while it started; the log says why":
        "サーバのプロセスが起動中に終了しました。理由はログにあります",
    "a process of the server ended while it started: the database went away, the log says how; start it again":
        "サーバのプロセスが起動中に終了しました: データベースが応答しなくなりました。詳細はログにあります。起動し直してください",
    "the folder of the SQLite file {} is not there: make it, or mount it":
        "SQLite のファイル {0} のフォルダがありません。作るか、マウントしてください",
    "the SQLite file {} would lie on {}, where its write-ahead log is not safe: put it on a local disk (database: in "
    "pacs.yaml), or use PostgreSQL":
        "SQLite のファイル {0} を {1} に置くと、書き込みの記録 (WAL) が安全ではありません。ローカルのディスクに置く (pacs.yaml の database) か、"
        "PostgreSQL を使ってください",
    "the database URL cannot be read; it looks like sqlite:///PATH or postgresql://...":
        "データベースの URL を読めません。sqlite:///PATH か postgresql://... の形で書いてください",
    "database {} is not supported: use sqlite:///PATH or postgresql://...":
        "データベース {0} は使えません。sqlite:///PATH か postgresql://... を使ってください",
    "both databases are {}; this copies between SQLite and PostgreSQL. Use pg_dump and pg_restore for PostgreSQL, pacs "
    "backup run for either":
        "どちらのデータベースも {0} です。このコマンドは SQLite と PostgreSQL の間で写します。PostgreSQL どうしなら pg_dump と pg_restore、"
        "どちらの場合も pacs backup run が使えます",
    "the database to copy to has schema {}: make an empty one (createdb), and copy into that":
        "写す先のデータベースのスキーマは {0} です。空のデータベースを作り (createdb)、そこへ写してください",
    "the database to copy to: {}": "写す先のデータベース: {0}",
    "{} could not be replaced: {}; it is as it was": "{0} を置き換えられません ({1})。元のままです",
    "{} could not be copied to {}: {}": "{0} を {1} へ写せません: {2}",
    "the database to copy to holds something else than this index: {}; make an empty one (createdb), and copy into that":
        "写す先のデータベースの中身が、このインデックスと違います。{0}。空のデータベースを作り (createdb)、そこへ写してください",
    "the database to copy to holds tables of something else ({}): make an empty one (createdb), and copy into that":
        "写す先のデータベースに別のものの表があります ({0})。空のデータベースを作り (createdb)、そこへ写してください",
}  # fmt: skip

WHY_A_DATABASE: Final[dict[str, str]] = {
    "the database cannot be used as it is; pacs db check says what to do":
        "このままではデータベースを使えません。どうすればよいかは pacs db check",
    "connection to server at {}, port {} failed: {}": "サーバ {0} (ポート {1}) に接続できません: {2}",
    "connection to server on socket {} failed: {}": "ソケット {0} のサーバに接続できません: {1}",
    "name a file with the right password as database_password_file in pacs.yaml (--password-file of pacs db copy), "
    "or put it into ~/.pgpass":
        "正しいパスワードのファイルを pacs.yaml の database_password_file(pacs db copy では --password-file)に書くか、"
        "パスワードを ~/.pgpass に書いてください",
    "createdb -O {} -T template0 -E UTF8 --locale=C.UTF-8 {}, or correct the name in the URL":
        "作るには: createdb -O {0} -T template0 -E UTF8 --locale=C.UTF-8 {1}。または URL の名前を直してください",
    "createuser --pwprompt {}, or correct the user in the URL":
        "作るには: createuser --pwprompt {0}。または URL の利用者を直してください",
    "let it in: pg_hba.conf there, then reload": "そのサーバの pg_hba.conf で許可し、読み直させてください",
    "raise max_connections there, or lower workers in pacs.yaml":
        "そのサーバの max_connections を増やすか、pacs.yaml の workers を減らしてください",
    "let it have more there (ALTER ROLE {} or ALTER DATABASE {} CONNECTION LIMIT), or lower workers in pacs.yaml":
        "そのサーバで上限を上げるか (ALTER ROLE {0} または ALTER DATABASE {1} の CONNECTION LIMIT)、pacs.yaml の workers を"
        "減らしてください",
    "turn ssl on there, or leave sslmode out of the URL":
        "そのサーバで ssl を有効にするか、URL から sslmode を除いてください",
    "the URL asks for a standby: name target_session_attrs=read-write there":
        "URL が待機系を求めています。target_session_attrs=read-write にしてください",
    "correct the host in the URL, or its name in DNS": "URL のホスト名か、DNS でのその名前を直してください",
    "let its user read and write that file, and its folder, which may be mounted read-only":
        "pacs の利用者がそのファイルとフォルダを読み書きできるようにしてください (読み取り専用でマウントされていないかも確かめてください)",
    "see in pg_stat_activity whose transaction is open since long ago (xact_start), and end it there, or by "
    "SELECT pg_terminate_backend(pid)":
        "pg_stat_activity で、長く開いたままのトランザクション (xact_start) が誰のものかを調べ、そこで終わらせるか、"
        "SELECT pg_terminate_backend(pid) で終わらせてください",
    "pacs restore-backup; or put the database aside, pacs db upgrade --new, pacs storage add for each volume, and "
    "pacs index rebuild":
        "pacs restore-backup。または、データベースを別の場所へ移し、pacs db upgrade --new、各ボリュームの pacs storage add、pacs index rebuild",
    "make room on the disk of the database": "データベースのディスクに空きを作ってください",
    "make room on the disk of the database; where it has some, see in the system's log whether the disk fails":
        "データベースのディスクに空きを作ってください。空きがあれば、ディスクの故障がシステムのログに出ていないか調べてください",
    "name every server in the URL, and target_session_attrs=read-write (docs/operate/postgresql.md); see that one of "
    "them is no standby, and that default_transaction_read_only is off there":
        "URL にすべてのサーバと target_session_attrs=read-write を書いてください (docs/operate/postgresql.md)",
    "start the primary, or promote the standby once it is certain that the primary is off "
    "(docs/operate/postgresql.md); where Patroni does that, promote nothing: pacs failover status":
        "主系を起動するか、主系が止まっていることを確かめてから待機系を昇格してください (docs/operate/postgresql.md)。"
        "Patroni に任せているなら手で昇格せず、pacs failover status を見てください",
    "let {} own it and its tables (ALTER DATABASE {} OWNER TO {}, ALTER TABLE likewise), "
    "or GRANT it what is missing":
        "{0} を所有者にするか (ALTER DATABASE {1} OWNER TO {2})、足りない権限を GRANT してください",
    "it holds tables of something else: make an empty one, and name that":
        "別のものの表が入っています。空のデータベースを作り、それを指定してください",
    "the index {} cannot be written to: {}": "インデックス {0} に書き込めません: {1}",
    "let its user write to its folder, and see whether that is mounted read-only or has no room":
        "そのフォルダに pacs の利用者が書けること、読み取り専用でマウントされていないこと、空きがあることを確かめてください",
    "the file of the index {} was removed or replaced while it was in use":
        "インデックスのファイル {0} が、使用中に消されたか、別のファイルに置き換えられました",
    "end the server, move {}-wal and {}-shm away, put the right file there, start it again, then: "
    "pacs reconcile --repair":
        "サーバを止め、{0}-wal と {1}-shm を別の場所へ移し、正しいファイルをそこに置いてから起動し、"
        "pacs reconcile --repair を実行してください",
    "the file of the index {} was found damaged, and takes no objects any more":
        "インデックスのファイル {0} が壊れていることが分かったため、オブジェクトの保存を受け付けません",
    "pacs restore-backup; or put the database aside, pacs db upgrade --new, pacs storage add for each "
    "volume, and pacs index rebuild; where a whole file was copied over it, start the server: it tries it "
    "again":
        "pacs restore-backup。または、データベースを別の場所へ移し、pacs db upgrade --new、各ボリュームの pacs storage add、pacs index rebuild。"
        "正常なファイルを上書きコピーした場合は、サーバを起動すれば改めて試します",
    "the server at {}:{} can be written to, but another one was promoted in its place (timeline {}, the newest is {})":
        "サーバ {0}:{1} は書き込めますが、別のサーバがすでに昇格しています (タイムライン {2}、最新は {3})",
    "the server at {} is a copy of the one at {}, and can be written to: it was never made a standby":
        "サーバ {0} はサーバ {1} の写しで、書き込める状態です。待機系になっていません",
    "end it and make it a standby of the promoted one (pg_rewind, or pg_basebackup), and see why that one is away":
        "そのサーバを止め、昇格したサーバの待機系にしてください (pg_rewind または pg_basebackup)。"
        "昇格したサーバに届かない理由も調べてください",
    "the database was promoted, or restored on another server, at {} UTC: it may lack the last rows of the former one":
        "{0} UTC にデータベースが昇格したか、別のサーバに復元されました。元のサーバの最後の行が欠けている可能性があります",
    "the database was promoted, or restored on another server, at {} UTC: rows missing right before then may not have "
    "been removed, but lost with the former server, which still has them":
        "{0} UTC にデータベースが昇格したか、別のサーバに復元されました。その直前に欠けている行は、削除されたのではなく元のサーバとともに失われた"
        "可能性があります。元のサーバには残っています",
    "volume {} has a study that the index does not know, seen at {} UTC ({}): was the index set back to an older state?":
        "ボリューム {0} に、インデックスにない検査があります ({1} UTC に確認、{2})。インデックスが古い状態に戻されていませんか",
    "volume {} has a study that the index does not know: was the index set back to an older state? (pacs doctor)":
        "ボリューム {0} に、インデックスにない検査があります。インデックスが古い状態に戻されていませんか (pacs doctor)",
    "pacs reconcile --repair, a quarter of an hour after that or later":
        "その 15 分後以降に pacs reconcile --repair を実行してください",
    "end it, and make it a standby: docs/operate/postgresql.md":
        "そのサーバを止め、待機系にしてください: docs/operate/postgresql.md",
    "the database server at {} could not take over: {}": "データベースサーバ {0} は引き継げません: {1}",
    "the database server at {} is a standby of another one":
        "データベースサーバ {0} は、別のデータベースの待機系です",
    "the standby at {} does not follow: it lacks what was written {} s ago":
        "待機系 {0} が追従していません。{1} 秒前に書き込まれたものがありません",
    "start it, or make the standby anew: docs/operate/postgresql.md":
        "起動するか、待機系を作り直してください: docs/operate/postgresql.md",
    "left out, because they could not take over now: {} (pacs doctor)":
        "いま引き継げないため、除いて調べました: {0} (pacs doctor)",
    "createdb -T template0 -E UTF8{} --locale=C.UTF-8 NAME (or{} --lc-collate=C --lc-ctype=en_US.UTF-8)":
        "createdb -T template0 -E UTF8{0} --locale=C.UTF-8 NAME (または{1} --lc-collate=C --lc-ctype=en_US.UTF-8)",
    "{} commits wait for a synchronous standby of PostgreSQL that does not answer":
        "{0} 件のコミットが、応答しない PostgreSQL の同期待機系を待っています",
    "start that standby, or take it out of synchronous_standby_names on the primary and reload it":
        "その待機系を起動するか、主系の synchronous_standby_names から除いて読み直させてください",
    "correct what stands behind the ? in the URL": "URL の ? の後を直してください",
    "see that PostgreSQL runs there, that the URL names its host and port, and the firewalls between":
        "PostgreSQL が動いていること、URL のホストとポートが正しいこと、途中のファイアウォールを確かめてください",
    "database in pacs.yaml": "pacs.yaml の database を直してください",
    "table {} has {} rows there and {} here": "表 {0} は、写す先に {1} 行、ここに {2} 行あります",
    "table {} has {} rows in both, and their values differ": "表 {0} はどちらも {1} 行ですが、値が違います",
    "the server did not answer within {} s": "サーバが {0} 秒以内に応答しませんでした",
    "the server did not answer a moment ago": "サーバが先ほど応答しませんでした",
    "somebody cancelled the wait of a commit for a synchronous standby, which may lack it":
        "コミットが同期待機系を待っている間に、誰かがその待ちを取り消しました。待機系にないかもしれません",
    "another server was promoted": "別のサーバが昇格しました",
    "it is damaged: {}": "壊れています: {0}",
    "its schema is {}, not {}": "スキーマが {1} ではなく {0} です",
    # the file with its password
    "{} cannot be read: {}; write it (chmod 600), or name another":
        "{0} を読めません: {1}。作る (chmod 600) か、別のファイルを指定してください",
    "{} cannot be read: {}; it has to belong to the user of the server (chown)":
        "{0} を読めません: {1}。サーバの利用者のものでなければなりません (chown)",
    "{} holds no text in UTF-8: write the password into it, and nothing else":
        "{0} は UTF-8 の文字ではありません。パスワードだけを書いてください",
    "{} is open to every user of this machine: chmod 600 it":
        "{0} はこの計算機の誰でも読めます。chmod 600 してください",
}  # fmt: skip
