"""What is said of persons who log in, and of examining a peer: a part of the Japanese help."""

from __future__ import annotations

from typing import Final

USERS: Final[dict[str, str]] = {
    "Let it in only over TLS, and with a user who is proven: password (pacs user) or jwt (identity.jwt in pacs.yaml). At "
    "first: none.":
        "TLS で、かつ利用者が確かめられたときだけ受け入れます。password(pacs user)または jwt(pacs.yaml の identity.jwt)。初期値は none。",
    "Log in there as this user, with --tls and --passcode-file; '-' is nobody.":
        "相手にこの利用者としてログインします。--tls と --passcode-file が要ります。'-' はログインなし。",
    "With the passcode of --as-user in it, readable by the server alone.":
        "--as-user のパスコードを書いたファイル。サーバだけが読めるようにします。",
    "Name the persons who log in at peers with a passcode.": "接続相手でパスコードによりログインする利用者を登録します。",
    "Name a person. They are asked for at peers with --identity password (pacs ae set).":
        "利用者を登録します。--identity password(pacs ae set)とした接続相手でログインを求められます。",
    "A peer at which they may log in; repeat it. At first: every peer that asks for a password.":
        "ログインしてよい接続相手。繰り返し指定できます。初期値はパスワードを求めるすべての相手。",
    "Take the passcode from the first line of a file, - for standard input. Else it is asked for.":
        "パスコードをファイルの一行目から読みます(- は標準入力)。省略時は入力を求めます。",
    "Change a person's passcode, or where they may log in. --peer replaces all that they had. It counts from their next "
    "association on.":
        "利用者のパスコード、またはログインしてよい相手を変更します。--peer は以前の指定をすべて置き換えます。次のアソシエーションから有効です。",
    "Let them log in at every peer that asks for a password.": "パスワードを求めるすべての相手でログインできるようにします。",
    "Ask for a new passcode.": "新しいパスコードの入力を求めます。",
    "List the persons who log in with a passcode.": "パスコードでログインする利用者の一覧を表示します。",
    "Forget a person. What they did stays in the audit trail.": "利用者の登録を消します。その人の操作は監査記録に残ります。",
    "Examine this archive, or one peer, and say what to do. With AET: the way to that peer, what it takes and answers, "
    "what it did here, what waits for it. It is sent a tiny object, as by pacs ae test, and nothing else is left there. "
    "Ends with 13 when it is not reached. Else: settings, database, Patroni, server, nodes, volumes, fault domains, "
    "copies, what is to be sent. Ends with 12 when something is to be done, or when fewer losses are survived than "
    "--survive asks for.":
        "このアーカイブ、または接続相手を一つ調べ、何をすべきかを示します。AET を付けると、その相手への経路、受け取れるものと答えるもの、"
        "こちらで行ったこと、送信待ちを調べます。pacs ae test と同じ小さなオブジェクトを送り、ほかには何も残しません。届かないとき、終了コードは 13 です。"
        "付けなければ、設定、データベース、Patroni、サーバ、ノード、ボリューム、故障範囲、コピー、送信待ちを調べます。"
        "すべきことがあるとき、または耐えられる損失が --survive の数より少ないとき、終了コードは 12 です。",
    "With AET: send it nothing.": "AET とともに: 相手に何も送りません。",
    "With AET: have it send the tiny object back, which is held here then.":
        "AET とともに: 小さなオブジェクトを送り返させます。それはここにも保管されます。",
    "By the person who was logged in under this name.": "この名前でログインしていた人によるもの。",
}  # fmt: skip
