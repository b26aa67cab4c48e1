"""What is said of volumes, of how many copies there are, and of tiers: a part of the Japanese help."""

from __future__ import annotations

from typing import Final

VOLUMES: Final[dict[str, str]] = {
    "Add, show, change, empty and remove volumes.": "ボリュームを追加・表示・変更し、空にし、外します。",
    "Adopt an existing directory or bucket as a volume. PATH is a directory, or s3://BUCKET/PREFIX. A running server uses "
    "it within a second.":
        "既存のディレクトリまたはバケットをボリュームにします。PATH はディレクトリか s3://BUCKET/PREFIX です。"
        "動いているサーバは一秒以内に使い始めます。",
    "For s3://BUCKET/PREFIX: the URL of the S3 server. Without it, that of Amazon.":
        "s3://BUCKET/PREFIX の場合の S3 サーバの URL。指定しなければ Amazon です。",
    "For s3://BUCKET/PREFIX: the region of the bucket, where the server has several.":
        "s3://BUCKET/PREFIX の場合のバケットのリージョン。サーバに複数あるときに指定します。",
    "For s3://BUCKET/PREFIX: a file with aws_access_key_id and aws_secret_access_key in a section [default], which the "
    "server can read and others cannot. Without it, the keys of the environment.":
        "s3://BUCKET/PREFIX の場合の鍵のファイル。[default] の節に aws_access_key_id と aws_secret_access_key を書き、"
        "サーバだけが読めるようにします。指定しなければ環境変数などの鍵を使います。",
    "How fast it is.": "速さの階層。",
    "What fails together: volumes of one machine or disk share a label. On one device with a known volume: that volume's "
    "label, else NAME.":
        "一緒に故障するものの名札。同じ装置やディスクのボリュームは同じ名札にします。既知のボリュームと同じ装置なら"
        "その名札、そうでなければ NAME。",
    "List the volumes with their present state and free space.": "ボリュームの一覧を、現在の状態と空き容量とともに表示します。",
    "Show one volume, how much is on it, and what is only there.":
        "ボリュームを一つ表示します。保管量と、そこにしかないものの数も示します。",
    "Change what is known of a volume; what is not given stays. A running server follows within a second.":
        "ボリュームの登録を変更します。指定しない項目は変わりません。動いているサーバには一秒以内に反映されます。",
    "Another name.": "新しい名前。",
    "Where it is mounted now; its sentinel has to be there.": "現在のマウント先。そこに目印のファイルが必要です。",
    "What fails together with it.": "一緒に故障するものの名札。",
    "It is full when more than this is used.": "使用率がこれを超えると満杯とみなします。",
    "Whether it takes new objects; --writable ends a drain too.":
        "新しいオブジェクトを受け入れるかどうか。--writable は drain も取り消します。",
    "Forget the damaged copies that were counted against it.": "このボリュームで数えた破損コピーの数を忘れます。",
    "Have a volume emptied. Nothing new goes to it, and what is on it gets copies elsewhere, which the running server "
    "makes. pacs storage show tells how many objects are still only there. Its files stay.":
        "ボリュームを空にできるようにします。新しいものは置かず、そこにあるものは動いているサーバがほかへ複製します。"
        "まだそこにしかない数は pacs storage show で分かります。ファイルは残ります。",
    "Forget a volume. Its files stay as they are. Refused while an object has no good copy on another volume that can be read now, and while a server runs that may still write to it: drain it first. With --lost, what was only there stays in the index without a copy, until it is sent again.":
        "ボリュームの登録を消します。ファイルはそのまま残ります。いま読めるほかのボリュームに正しいコピーがないオブジェクトがある間と、サーバがまだ書き込むかもしれない間は拒否します。"
        "先に drain してください。--lost を付けると、そこにしかなかったものは、再び送られるまでコピーのないままインデックスに残ります。",
    "It is lost for good: forget it with the only copies of objects, too.":
        "失われて戻らない場合: そこにしかないコピーごと登録を消します。",
    "Examine how the volumes are mounted, and what S3 servers do. Says what is dangerous, and what to write in fstab or "
    "use instead. Ends with 12 when there is something to change.":
        "ボリュームのマウント方法と S3 サーバの動作を調べます。危険な点と、fstab に書くべき内容や代わりに使うものを示します。"
        "直すべき点があれば終了コードは 12 です。",
    "Show and set how many copies objects have.": "オブジェクトのコピーの数を表示・設定します。",
    "Show the policy of the site, and of peers that have their own. want: copies that exist in the end, in different fault "
    "domains. need: copies that are awaited before success. degraded: the least with which an object is taken when "
    "volumes fail.":
        "施設の方針と、独自の方針を持つ接続相手の方針を表示します。want: 最終的に別々の故障範囲に置くコピーの数。"
        "need: 「成功」と応答する前に待つ数。degraded: ボリュームの故障時に受け入れる最少の数。",
    "Set the policy; what is not given stays. 1 <= degraded <= need <= want. A running server follows within a second, and "
    "makes copies that are missing now.":
        "方針を設定します。指定しない項目は変わりません。1 <= degraded <= need <= want。動いているサーバには一秒以内に反映され、"
        "足りなくなったコピーを作ります。",
    "Copies that exist in the end, in different fault domains.": "最終的に、別々の故障範囲に置くコピーの数。",
    "Copies that are awaited before success.": "「成功」と応答する前に待つコピーの数。",
    "The least with which an object is taken.": "受け入れる最少のコピーの数。",
    "Only for what this peer sends.": "この相手が送るものだけ。",
    "With --peer: let it follow the policy of the site again.": "--peer とともに。再び施設の方針に従わせます。",
    "Tier rules that make room on it stop when this is used.": "空きを作る階層の規則が、使用率がここまで下がったら止まる値。",
    "Move studies between fast and slow volumes.": "速いボリュームと遅いボリュームの間で検査を移します。",
    "Say which studies move where.": "どの検査をどこへ移すかを決めます。",
    "Add a rule. All that it asks for has to hold. A series belongs to the first rule that can move it, in the order of "
    "their names. An archive server is a registered peer. Objects stay here until it has committed to them and given "
    "them back, and what was read within 7 days, or --not-read-for, stays too.":
        "規則を加えます。指定した条件をすべて満たすものが対象です。シリーズには、移せる規則のうち名前順で最初のものが当てはまります。"
        "アーカイブサーバは登録済みの接続相手です。相手が保管を確約し、一度返してくるまで、オブジェクトはここに残ります。"
        "7 日以内 (または --not-read-for の日数以内) に読まれたものも残ります。",
    "The tier that objects leave.": "移動元の階層。",
    "The tier that they go to.": "移動先の階層。",
    "In place of --to: the archive server that is to keep them.":
        "--to の代わりに。それらを保管させるアーカイブサーバ。",
    "Studies made, or without a date received, more than so many days ago.":
        "検査日（なければ受信日）からこの日数を過ぎた検査。",
    "Studies that nobody retrieved, and nothing came for, for more than so many days.":
        "この日数を過ぎて、取り出しも追加の受信もない検査。",
    "Series of this modality; may be repeated.": "このモダリティのシリーズ。繰り返し指定できます。",
    "Only so much that a volume comes down to its low-water mark, longest not read first.":
        "ボリュームの使用率が下限まで下がる分だけ。長く読まれていない検査から。",
    "List the rules in their order.": "規則を、当てはめる順に一覧表示します。",
    "Remove a rule. What it moved stays where it is.": "規則を取り除きます。すでに移したものはそのままです。",
    "Show what the rules would move now. And what that does to the free space; changes nothing.":
        "いま規則によって移るものと、空き容量がどう変わるかを表示します。何も変えません。",
    "Move what the plan says. Broken off anywhere, it goes on when it is called again. An object is "
    "copied, the copy read back from the disk, and only then the old one given up. Its file is removed an hour later "
    "(storage.release_delay_s), by the running server or the next run. What goes to an archive server is queued, and is "
    "the work of the running server. Ends with 3 when something was left.":
        "計画どおりに移します。途中で切れても、もう一度実行すれば続きから進みます。オブジェクトをコピーし、ディスクから読み返して"
        "確かめてから、元のものを手放します。元のファイルは 1 時間後 (storage.release_delay_s) に、動いているサーバか次回の実行が"
        "消します。アーカイブサーバへ移すものは待ち行列に入れ、動いているサーバが処理します。"
        "残ったものがあれば終了コードは 3 です。",
    "Only what this rule moves.": "この規則が移すものだけ。",
    "Stop before more than this has moved.": "移した量がこれを超える前に止めます。",
    "Let the running server move each day. What the plan says, between these times; off ends it.":
        "毎日この時間帯に、動いているサーバが計画どおりに移すようにします。off でやめます。",
}  # fmt: skip
