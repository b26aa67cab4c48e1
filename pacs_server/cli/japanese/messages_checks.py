"""What checks find, in Japanese: of Patroni, of how volumes are mounted and what S3 servers do, of the audit trail, and of
a site that a file describes.
"""

from __future__ import annotations

from typing import Final

_NO_WRITING: Final = "何も書き込めません"

WHY_A_CHECK: Final[dict[str, str]] = {
    # Patroni, in pacs doctor and pacs failover status
    "patroni members": "Patroni のメンバー",
    "patroni version": "Patroni の版",
    "patroni leader": "Patroni の主系",
    "patroni etcd": "Patroni と etcd の接続",
    "patroni synchronous mode": "Patroni の同期モード",
    "patroni lag": "Patroni の遅れ",
    "patroni timelines": "Patroni のタイムライン",
    "database URL": "データベースの URL",
    "systemctl status patroni there, and patroni.urls in pacs.yaml":
        "そのサーバの systemctl status patroni と、pacs.yaml の patroni.urls を確かめてください",
    "{} of the cluster is not in patroni.urls": "クラスタの {0} が patroni.urls にありません",
    "name every member in pacs.yaml": "すべてのメンバーを pacs.yaml に書いてください",
    "{} runs Patroni {}: {}": "{0} の Patroni は {1} です: {2}",
    "Patroni before 4.1 loses acknowledged commits: 3.0.2 did in three of three network cuts that were tried, 4.1.5 in none "
    "of five":
        "4.1 より前の Patroni は、確定したコミットを失います。ネットワークを切る試験で、3.0.2 は 3 回中 3 回失い、4.1.5 は 5 回とも失いませんでした",
    "install Patroni 4.1 or later": "Patroni 4.1 以降を入れてください",
    "no member reaches etcd, so who leads is not known": "どのメンバーも etcd に届かないため、主系が分かりません",
    "etcdctl endpoint health: two of three have to be there":
        "etcdctl endpoint health で、三台中二台が動いていることを確かめてください",
    "nobody leads: nothing can be written": f"主系がないため、{_NO_WRITING}",
    "patronictl list, then etcd: are two of three there?": "patronictl list と、etcd の三台中二台が動いていることを確かめてください",
    "it is a standby cluster: nothing can be written": f"待機用のクラスタなので、{_NO_WRITING}",
    "Patroni is paused: it promotes nobody by itself": "Patroni が一時停止中で、自動では昇格させません",
    "{} has not reached etcd since {}": "{0} は {1} から etcd に届いていません",
    "etcdctl endpoint health, and the clocks": "etcdctl endpoint health と、時計を確かめてください",
    "synchronous_mode is off: what was acknowledged last is lost with the leader":
        "synchronous_mode が無効です。主系を失うと、最後に保存したと答えたものも失われます",
    "no standby is synchronous now: another loss would lose what is acknowledged meanwhile":
        "今は同期待機系がありません。この間に保存したと答えたものは、次の障害で失われます",
    "{} does not follow: it is {}": "{0} が主系に追随していません (状態 {1})",
    "{} does not tell how far it is behind": "{0} がどれだけ遅れているか分かりません",
    "{} is {} MiB behind": "{0} は {1} MiB 遅れています",
    "does not follow: it is {}": "主系に追随していません (状態 {0})",
    "does not tell how far it is behind": "どれだけ遅れているか分かりません",
    "is {} MiB behind": "{0} MiB 遅れています",
    "patronictl list; if it stays so, pacs failover resync {}":
        "patronictl list で確かめ、変わらなければ pacs failover resync {0} を実行してください",
    "the members are not on one timeline: {}": "メンバーのタイムラインが揃っていません: {0}",
    "wait for pg_rewind, else pacs failover resync NAME":
        "pg_rewind を待つか、pacs failover resync NAME を実行してください",
    "database names one host, so no other member is ever found":
        "database にホストが一つしか書かれていないため、ほかのメンバーを見つけられません",
    "database does not ask for the member that can be written": "database で、書き込めるメンバーを求めていません",
    "postgresql://USER@DB1:5432,DB2:5432/NAME?target_session_attrs=read-write in pacs.yaml":
        "pacs.yaml に postgresql://USER@DB1:5432,DB2:5432/NAME?target_session_attrs=read-write のように書いてください",
    "not between this site and a partner": "このサイトと相手サーバの間の切り替えではありません",
    "pacs conflicts list; docs/operate/peers.md": "pacs conflicts list と docs/operate/peers.md を見てください",
    # how volumes are mounted
    "nocto: another server may read what is not there any more":
        "nocto: ほかのサーバが、もうないものを読むことがあります",
    "take nocto out of fstab": "fstab から nocto を外してください",
    "nolock: locks are not seen by other servers; the archive needs none, other programs may":
        "nolock: ロックがほかのサーバから見えません。このアーカイブは使いませんが、ほかのプログラムは使うかもしれません",
    "take nolock out of fstab, or mount with NFS version 4.1":
        "fstab から nolock を外すか、NFS 4.1 でマウントしてください",
    "NFS version 3 or older: no sessions, so a repeated rename may be told as an error":
        "NFS 3 以前: セッションがないため、再送された名前の変更がエラーになることがあります",
    "write vers=4.1 or newer in fstab": "fstab に vers=4.1 以降を書いてください",
    "async: data waits in memory for longer": "async: データがメモリに長く留まります",
    "take async out of fstab": "fstab から async を外してください",
    "cache=loose: what another server wrote may not be seen, and what was written may wait here":
        "cache=loose: ほかのサーバが書いたものが見えなかったり、書いたものがここに留まったりします",
    "write cache=strict in fstab": "fstab に cache=strict と書いてください",
    "an old version of SMB": "SMB の版が古すぎます",
    "write vers=3.1.1 in fstab": "fstab に vers=3.1.1 と書いてください",
    # what S3 servers do
    "whether the S3 server flushes what it has acknowledged cannot be seen from here":
        "S3 サーバが、受け付けたものをディスクに書き終えているかは、ここからは分かりません",
    "see docs/operate/object-storage.md, and with need 2 have a copy on a disk or NAS too":
        "docs/operate/object-storage.md を見て、need 2 ではディスクか NAS にもコピーを置いてください",
    "images cross the network unencrypted": "画像が暗号化されずにネットワークを通ります",
    "give an https:// endpoint": "https:// のエンドポイントを指定してください",
    "the S3 server ignores If-None-Match: what is there may be written again":
        "S3 サーバが If-None-Match を無視します。すでにあるものが上書きされることがあります",
    "use a release of it that knows conditional writes": "条件付きの書き込みに対応した版を使ってください",
    "the S3 server does not compare what arrives with the checksum that is sent":
        "S3 サーバが、届いたものをチェックサムと照合していません",
    "use a release of it that knows x-amz-checksum-sha256; pacs verify finds what was damaged":
        "x-amz-checksum-sha256 に対応した版を使ってください。破損は pacs verify で見つかります",
    # what is wrong with the audit trail
    "{} rows were removed from its end: {} saw them": "末尾の {0} 行が削除されています ({1} の時点ではありました)",
    "{} rows were removed": "{0} 行が削除されています",
    "the row is not where it was written": "行が元の位置にありません",
    "the row was edited, or put in the place of another": "行が書き換えられたか、別の行と入れ替えられています",
    "this row or one before it was edited, and all after it made to fit: {} saw others":
        "この行か前の行が書き換えられ、後の行もそれに合わせて直されています ({0} の時点とは違います)",
    "there is no good checkpoint signed with {}": "{0} で署名した正しいチェックポイントがありません",
    "{} was edited: its signature is not over what it says": "{0} が書き換えられています (署名が内容と合いません)",
    "{} does not follow the one before it: some were removed or replaced":
        "{0} が前のチェックポイントに続いていません。削除されたか、入れ替えられています",
    "the database does not have the checkpoint that is on {}": "{0} にあるチェックポイントがデータベースにありません",
    # a site that a file describes, and the settings
    "{}: name at least one": "{0}: 一つ以上書いてください",
    "is a list, like `- {on: [nas1, nas2], count: 1000}`; or leave it out":
        "`- {{on: [nas1, nas2], count: 1000}}` のようなリストを書くか、省いてください",
    "needs `on`: the volumes that have a copy of each of these objects":
        "`on` (これらのオブジェクトのコピーがあるボリューム) が必要です",
    "needs `name: value` lines below it": "その下に `名前: 値` の行を書いてください",
    "unknown; the nearest is {}": "そのような項目はありません。最も近いものは {0} です",
    "is there twice": "二度あります",
    "needs a whole number": "整数を書いてください",
    "needs one name": "名前を一つ書いてください",
    "'{}' is none of {}": "'{0}' は {1} のどれでもありません",
    "is a list of some of {}": "{0} から選んだリストを書いてください",
    "{}: cannot be read: {}; config/layouts has examples": "{0}: 読めません ({1})。例は config/layouts にあります",
    "is null, and tls.port too: nobody could call, so give one of them a whole number":
        "tls.port とともに null のため、誰も接続できません。どちらかに整数を書いてください",
    "is empty, but alert.mail.host is given, so somebody has to be":
        "空です。alert.mail.host を設定するなら、ここも書いてください",
    "needs settings below it": "その下に設定を書いてください",
}  # fmt: skip
