"""Messages in Japanese, by the English ones; `{}` stands for a value, and `{0}`, `{1}` say where it goes."""

from __future__ import annotations

from typing import Final

from pacs_server.cli.japanese.messages_added import OF_PROGRESS, OF_WHAT_IS_ADDED
from pacs_server.cli.japanese.messages_copies import OF_COPIES
from pacs_server.cli.japanese.messages_database import OF_DATABASE
from pacs_server.cli.japanese.messages_partners import OF_PARTNERS
from pacs_server.cli.japanese.messages_peers import OF_PEERS
from pacs_server.cli.japanese.messages_refusals import OF_REFUSALS
from pacs_server.cli.japanese.messages_sending import OF_SENDING
from pacs_server.cli.japanese.messages_sites import OF_SITES
from pacs_server.cli.japanese.messages_standing import OF_STANDING
from pacs_server.cli.japanese.messages_usage import OF_THE_LIBRARY, OF_USAGE
from pacs_server.cli.japanese.words import WORDS

MESSAGES: Final[dict[str, str]] = {
    **OF_DATABASE,
    **OF_PARTNERS,
    **OF_PEERS,
    **OF_PROGRESS,
    **OF_REFUSALS,
    **OF_SENDING,
    **OF_SITES,
    **OF_STANDING,
    **OF_USAGE,
    **OF_WHAT_IS_ADDED,
    **OF_THE_LIBRARY,
    **OF_COPIES,
    **WORDS,
    "interrupted": "中断しました",
    "the working directory was removed: change to one that is there":
        "作業ディレクトリが削除されています。存在するディレクトリに移ってください",
    "could not write: {}; make room, and see what was done before you ask again":
        "書き出せませんでした ({0})。空きを作り、どこまで済んだかを確かめてからやり直してください",
    "nothing found": "該当するものはありません",
    "kept by {}": "{0} で保管",
    "nothing to change": "直すべき点はありません",
    "{} studies compared with {}: {}": "{1} と {0} 件の検査を比べました: {2}",
    "its studies without a date are not compared: {}; compare them patient by patient (PatientID=)":
        "相手の日付のない検査は比べていません ({0})。患者ごとに (PatientID=) 比べてください",
    "they hold the same": "違いはありません",
    "nothing is missing here": "ここにないものはありません",
    "whose {} more objects are cannot be read now: {}": "ほかの {0} 件のオブジェクトは、患者をいま読み取れません: {1}",
    "nothing to verify": "確認するものはありません",
    "the last is {}": "最新は {0} です",
    "this node has no key any more; the last checkpoint that there is is {}":
        "このノードの鍵がありません。残っている最新のチェックポイントは {0} です",
    "no checkpoint was taken yet: the running server takes one a day":
        "チェックポイントはまだありません。動いているサーバが一日に一度作ります",
    "not told to the audit trail: {}": "監査記録に書けませんでした: {0}",
    "the audit trail is whole": "監査記録は完全です",
    "{} problems in the audit trail": "監査記録に問題が {0} 件あります",
    "{} rows": "{0} 行",
    "no alarm stands": "続いている警報はありません",
    "alarms wait, because {} does not take them: {}": "{0} が受け取らないため、警報が待っています: {1}",
    "every file was taken in": "すべてのファイルを取り込みました",
    "stopped after {}, there may be more": "{0} 件で止めました。まだあるかもしれません",
    "unexpected: {}; this is a fault in pacs, please report the lines above":
        "予期しない誤り: {0}。pacs の不具合です。上の行を報告してください",
    "made an archive in {}": "アーカイブを {0} に作りました",
    "made one more node of the archive that the database is of":
        "そのデータベースのアーカイブに、ノードを一つ加えました",
    "volume {} is not at {} here: mount it there, or say where it is on this node: volume_paths in {}":
        "ボリューム {0} がここの {1} にありません。そこにマウントするか、このノードでの場所を {2} の volume_paths に書いてください",
    "settings: {}; start it with: {} serve": "設定ファイル: {0}。起動: {1} serve",
    "other commands do not look there: export PACS_CONFIG={}, or name it each time with -c":
        "ほかのコマンドはそこを探しません。export PACS_CONFIG={0} とするか、毎回 -c で指定してください",
    "{} is good": "{0} に問題はありません",
    "added volume {} at {}, tier {}, fault domain {}": "ボリューム {0} を {1} に追加しました。階層 {2}、故障範囲 {3}",
    "it was a volume before: pacs reconcile --repair takes in what lies there and the index does not know":
        "以前はボリュームとして使われていました。そこにあってインデックスにないものは pacs reconcile --repair で取り込めます",
    "an archive that had it must not start with it again: each would take the other's files for litter":
        "以前それを使っていたアーカイブを、このボリュームのまま再び起動しないでください。互いのファイルを不要なものとみなします",
    "{} fault domains now: pacs policy set --want 2 --need 2 --degraded 1 keeps every object in two":
        "故障範囲は {0} つです。pacs policy set --want 2 --need 2 --degraded 1 とすると、すべてを二つに保管します",
    "changed volume {}": "ボリューム {0} を変更しました",
    "forgot {}; nothing was removed from {}": "{0} の登録を消しました。{1} からは何も消していません",
    "{} is being emptied: {} copies, {} of them the only ones": "{0} を空にしています。コピー {1}、うち唯一のもの {2}",
    "no volume: nothing can be stored; add one with pacs storage add":
        "ボリュームがないため何も保管できません。pacs storage add で追加してください",
    "no peer is registered: only this machine may call": "接続相手の登録がありません。この計算機だけが接続できます",
    "registered {}; try it with: pacs ae test {}": "{0} を登録しました。試すには: pacs ae test {1}",
    "registered {}": "{0} を登録しました",
    "registered {}: it may {} from {}": "{0} を登録しました。許す操作: {1}。送信元: {2}",
    "registered {}: it may {} from {}, only with the certificate {}":
        "{0} を登録しました。許す操作: {1}。送信元: {2}。この証明書を示したときだけ: {3}",
    "changed {}: it may {} from {}": "{0} を変更しました。許す操作: {1}。送信元: {2}",
    "changed {}: it may {} from {}, only with the certificate {}":
        "{0} を変更しました。許す操作: {1}。送信元: {2}。この証明書を示したときだけ: {3}",
    "{} is registered; would change {}; do it with --yes": "{0} は登録済みです。変更点: {1}。実行するには --yes を付けてください",
    "{} is registered; would change nothing; do it with --yes":
        "{0} は登録済みで、変わるものはありません。実行するには --yes を付けてください",
    "to send to it, give it an address: pacs ae set {} --host H --port P":
        "そこへ送るには、アドレスを登録してください: pacs ae set {0} --host H --port P",
    "what is sent to {} still goes to {}; if the device has moved: pacs ae set {} --host {} --from {}":
        "{0} への送信先は {1} のままです。装置のアドレスが変わったのなら: pacs ae set {2} --host {3} --from {4}",
    "nobody was turned away": "拒否した相手はありません",
    "no job waits": "待っている作業はありません",
    "nothing is in the trash": "ごみ箱は空です",
    "no study is on hold": "保留にした検査はありません",
    "nothing contradicts itself": "食い違いはありません",
    "nobody has asked for storage commitment, and we asked nobody":
        "ストレージコミットメントの依頼は、受けたものも送ったものもありません",
    "no field was added; add one with: pacs index fields add": "追加した項目はありません。追加: pacs index fields add",
    "no {} was turned away; pacs ae seen lists who was": "{0} を拒否した記録はありません。pacs ae seen で確認できます",
    "{} called from {}: say which is the device, with --from": "{0} は {1} から接続してきました。どれがその装置かを --from で指定してください",
    "{} listens on {}": "{0} は {1} で待ち受けています",
    "{} listens for TLS on {}": "{0} は TLS を {1} で待ち受けています",
    "changed {}": "{0} を変更しました",
    "forgot {}": "{0} の登録を消しました",
    "removed {}": "{0} を外しました",
    "would forget {}, which could then neither call us nor be sent to; do it with --yes":
        "{0} の登録を消すと、その相手は接続も受信もできなくなります。実行するには --yes を付けてください",
    "{} stays named, and what is registered by that title next has part in it: {}":
        "{0} を指す設定が残っています。次に同じ AE タイトルで登録する相手にも適用されます: {1}",
    "route {}": "転送ルート {0}",
    "rule {}": "規則 {0}",
    "partner {}": "相手サーバ {0}",
    "wrote {} peers to {}": "接続相手 {0} 件を {1} に書き出しました",
    "the site: want {}, need {}, degraded {}": "施設の方針: want {0}、need {1}、degraded {2}",
    "there are volumes in {} fault domains only, so {} copies cannot exist yet":
        "故障範囲が {0} つしかないので、コピーを {1} つ置くことはまだできません",
    "another program keeps the index {} locked: end it; fuser -v {} (or lsof) lists it, beside pacs itself":
        "別のプログラムがインデックス {0} をロックし続けています。終了させてください。fuser -v {1} (または lsof) で、"
        "pacs 自身と並んで表示されます",
    "no peer is registered, because files do not say who may call, nor the policy and the routes: pacs ae add, pacs policy "
    "set, pacs route add; a backup has them all (pacs restore-backup)":
        "接続相手の登録がありません。誰が接続できるか、方針とルートは、ファイルには書かれていません: pacs ae add、pacs policy set、"
        "pacs route add。バックアップにはすべてあります (pacs restore-backup)",
    "the index holds {} studies and {} instances": "インデックスには検査 {0} 件、インスタンス {1} 件があります",
    "forgot {} of {} jobs": "作業 {1} 件のうち {0} 件を取り消しました",
    "added {}, VR {}, at level {}; {} objects are to be read for it by the server":
        "{0} を追加しました。VR {1}、レベル {2}。サーバがオブジェクト {3} 件を読み取ります",
    "the schema is current ({}); nothing was changed": "スキーマは最新です({0})。何も変えていません",
    "the schema is current ({}): another pacs upgraded it meanwhile; nothing was left to do":
        "スキーマは最新です({0})。その間に別の pacs が更新を終えました。することはありません",
    "made an empty database of schema {}": "空のデータベースを作りました。スキーマは {0} です",
    "upgraded the schema from {} to {}": "スキーマを {0} から {1} に更新しました",
    "{} holds the same as {}": "{0} の内容は {1} と同じです",
    "to use it, write it to the settings file as database (and database_password_file), then start the server":
        "使うには、設定ファイルの database(と database_password_file)に書いてからサーバを起動してください",
    "{} stored, {} already held, {} skipped, {} refused": "保管 {0}、保管済み {1}、対象外 {2}、拒否 {3}",
    "{} written to {}, {} not": "{1} に {0} 件を書き出しました。書き出せなかったもの {2} 件",
    "backed up to {}, run {}, not verified: pacs backup verify {}":
        "{0} に {1} としてバックアップしました。まだ確かめていません: pacs backup verify {2}",
    "{} objects copied, {} were there, {} unreadable": "オブジェクト: 写したもの {0}、すでにあったもの {1}、読めなかったもの {2}",
    "run {} is whole": "バックアップ {0} は完全です",
    "run {} is damaged: {} files": "バックアップ {0} は破損しています: {1} 個のファイル",
    "that could not be noted there: {}": "その結果を書き込めませんでした: {0}",
    "the backup {} was never verified; pacs backup verify reads it":
        "バックアップ {0} は一度も確かめられていません。pacs backup verify で確かめられます",
    "the backup {} was found damaged: {} files; pacs backup verify names them, --run takes another one":
        "バックアップ {0} には破損が見つかっています: {1} 個のファイル。どれかは pacs backup verify で分かります。別のバックアップは --run で選べます",
    "the restore of {} was broken off after its index was in place; it goes on":
        "{0} の復元は、インデックスを入れ替えた後で中断されていました。続きを行います",
    "run {}: {} studies, {} objects, {} to copy back": "バックアップ {0}: 検査 {1} 件、オブジェクト {2} 件、写し戻すもの {3} 件",
    "what the volumes have that the backup does not know is not copied again, so it may be fewer": (
        "バックアップにないボリュームにすでにあるものは写し戻さないため、これより少なくなることがあります"
    ),
    "nothing was changed; a volume that is only not mounted should be mounted first; do it with --yes":
        "何も変えていません。マウントしていないだけのボリュームは、先にマウントしてください。実行するには --yes を付けてください",
    "the former index is kept at {}": "以前のインデックスは {0} に残してあります",
    "put back: {}": "写し戻しました: {0}",
    "not put back: {}: {}": "写し戻せませんでした: {0}: {1}",
    "restored: {} objects are there, {} copied back, {} lost":
        "復元しました。オブジェクト: 残っていたもの {0}、写し戻したもの {1}、失われたもの {2}",
    "{} knew this site by the index that was lost, and is not linked until it is added anew; there: pacs partner remove "
    "NAME --yes, then pacs partner add":
        "{0} はこのサイトを失われたインデックスで知っていたので、登録し直すまで接続されません。相手のサイトで pacs partner remove NAME --yes、"
        "続けて pacs partner add を実行してください",
    "start the server, then run pacs reconcile --repair: it takes in what arrived after the backup":
        "サーバを起動してから pacs reconcile --repair を実行してください。バックアップの後に届いたものを取り込みます",
    "nothing is held yet: told is what becomes of objects to come":
        "まだ何も保管していません。これから届くものについて示します",
    "{} objects have no good copy that can be read now: pacs verify, pacs storage list":
        "オブジェクト {0} 件には、いま読める正しいコピーがありません: pacs verify、pacs storage list",
    "left out, because they do not serve now: {}": "いま動いていないため、除いて調べました: {0}",
    "left out, because they cannot be read now: {}": "いま読めないため、除いて調べました: {0}",
    # Refusals and failures.
    "{} parts can be lost in {} ways of up to {}, and objects lie in {} ways: too many to try each; ask for fewer with "
    "--survive":
        "{0} 個の部分のうち {2} 個までを失う場合は {1} 通り、オブジェクトの置かれ方は {3} 通りで、多すぎて試せません。--survive の数を減らしてください",
    "{} holds no backup, but did so on {}: is it mounted? To begin anew there, on another disk, say --new":
        "{0} にバックアップがありません。{1} にはありました。マウントされていますか。別のディスクに新しく始めるには --new を付けてください",
    "{} has no backup; is the right directory mounted there?":
        "{0} にバックアップがありません。正しいディレクトリがマウントされていますか",
    "{} has no complete backup; is the right directory mounted there?":
        "{0} に完了したバックアップがありません。正しいディレクトリがマウントされていますか",
    "{} has no run {}; pacs backup list shows those there are":
        "{0} に {1} というバックアップはありません。pacs backup list で確認できます",
    "another backup of {} is under way; wait until it has ended":
        "{0} の別のバックアップが進行中です。終わるまでお待ちください",
    "another pacs index rebuild is at work on {}; wait until it has ended":
        "{0} で別の pacs index rebuild が作業中です。終わるまでお待ちください",
    "another pacs init, or a server, is at work on {}; wait until it has ended":
        "{0} で別の pacs init かサーバが作業中です。終わるまでお待ちください",
    "no volume of the backup is there, and no other one: mount them, or begin with pacs init":
        "バックアップのボリュームも、ほかのボリュームもありません。マウントするか、pacs init から始めてください",
    "no settings file at {}: name one with -c, or make one: pacs init":
        "設定ファイルが {0} にありません。-c で指定するか、pacs init で作ってください",
    "no study {} is held; pacs find studies lists those there are":
        "検査 {0} は保管していません。pacs find studies で一覧を表示できます",
    "no peer {} is registered: it is for what comes from this machine by that title; pacs ae list":
        "接続相手 {0} は登録されていません。この計算機からその名で届くものだけが対象です。pacs ae list で確認できます",
    "no peer {} is registered; pacs ae list shows them": "接続相手 {0} は登録されていません。pacs ae list で確認できます",
    "no volume has the name {}; pacs storage list shows those there are":
        "{0} という名前のボリュームはありません。pacs storage list で確認できます",
    "there is no job {}; pacs jobs list shows those there are": "作業 {0} はありません。pacs jobs list で確認できます",
    "no field {} was added; pacs index fields list shows those there are":
        "{0} は追加されていません。pacs index fields list で確認できます",
    "{} is not an attribute that the index holds; did you mean {}?":
        "{0} はインデックスにない属性です。{1} のことですか",
    "{} is not an attribute that the index holds; pacs index fields add adds one":
        "{0} はインデックスにない属性です。pacs index fields add で追加できます",
    "{} is still being read from the files: pacs index fields list shows how far it is":
        "{0} はまだファイルから読み取り中です。進み具合は pacs index fields list で分かります",
    "{} is already an archive ({} exists); nothing was changed": "{0} はすでにアーカイブです({1} があります)。何も変えていません",
    "volume {} lies in {}, whose server runs: two archives on one volume take each other's files for litter. "
    "Stop that server, or name the volume of this copy: pacs storage set {} --path DIR":
        "ボリューム {0} は {1} にあり、そのサーバが動いています。二つのアーカイブが一つのボリュームを使うと、互いのファイルをごみとみなします。"
        "そのサーバを止めるか、この複製のボリュームを指定してください: pacs storage set {2} --path DIR",
    "another server runs on {}; stop it first, or choose another PACS_DATA":
        "{0} では別のサーバが動いています。先に止めるか、別の PACS_DATA を選んでください",
    "another pacs works on {}: wait until it has ended, or stop it, before {}":
        "{0} で別の pacs が動いています。終わるのを待つか、止めてください: {1}",
    "a server runs on {} (process {}): stop it before {}": "{0} でサーバが動いています(プロセス {1})。先に止めてください: {2}",
    "the database {} is gone or empty: if this archive held something, see whether the settings file names the right "
    "database, mount or restore it (pacs restore-backup); or make an empty one with pacs db upgrade --new, add the volumes "
    "under their old names, and pacs index rebuild":
        "データベース {0} が見つからないか、空です。保管していたものがあるなら、設定ファイルのデータベース名が正しいか確かめ、"
        "マウントし直すか、バックアップから復元してください(pacs restore-backup)。それができなければ pacs db upgrade --new で空のものを作り、"
        "ボリュームを元の名前で追加して pacs index rebuild を実行してください",
    "the index has schema {}, this release needs {}: stop the server, then run pacs db upgrade":
        "インデックスのスキーマは {0}、この版に必要なのは {1} です。サーバを止めてから pacs db upgrade を実行してください",
    "the index has schema {} of an older release, and that one has to back it up: install it again and back up, then install "
    "this one and run pacs db upgrade; or copy the database with pg_dump. A SQLite file is copied beside itself by the upgrade":
        "インデックスのスキーマ {0} は古い版のもので、バックアップはその版で行います。元の版を入れ直してバックアップし、"
        "それからこの版を入れて pacs db upgrade を実行してください。データベースを pg_dump で写しておくこともできます。SQLite は更新のときに隣へ写しを取ります",
    "the index has schema {} of a newer release: install that release or a later one":
        "インデックスのスキーマ {0} は、より新しい版のものです。その版か、それ以降の版を入れてください",
    "the database has schema {}, this release needs {}: copying it beside itself, then upgrading it":
        "データベースのスキーマは {0}、この版に必要なのは {1} です。隣に写しを取ってから更新します",
    "{} objects have no good copy but on {}: first pacs storage drain {} --yes":
        "オブジェクト {0} 件の正しいコピーは {1} にしかありません。先に pacs storage drain {2} --yes を実行してください",
    "{} objects have no good copy but on {}, which the running server empties: wait; pacs storage show {} tells how many are left, "
    "pacs jobs list what is in the way":
        "オブジェクト {0} 件の正しいコピーは、稼働中のサーバが空にしている {1} にしかありません。お待ちください。残りの数は pacs storage show {2}、"
        "妨げになっているものは pacs jobs list で分かります",
    "{} objects have no good copy but on {}, which cannot be read: bring it back (pacs storage set {} --path PATH), or give "
    "them up with --lost":
        "オブジェクト {0} 件の正しいコピーは {1} にしかなく、いまは読めません。元に戻す(pacs storage set {2} --path PATH)か、"
        "--lost であきらめてください",
    "{} objects have no good copy without {}: they stay in the index without one until they come again":
        "オブジェクト {0} 件は {1} がなければ正しいコピーがなく、再び届くまでコピーのないままインデックスに残ります",
    "{} is not lost, it can be read: pacs storage drain {} --yes":
        "{0} は失われておらず、読めます: pacs storage drain {1} --yes",
    "{} is the only volume: add another one first": "{0} は唯一のボリュームです。先に別のものを追加してください",
    "a volume {} exists already; pacs storage list shows them": "ボリューム {0} はすでにあります。pacs storage list で確認できます",
    "{} is not a directory; make or mount it first": "{0} はディレクトリではありません。先に作るか、マウントしてください",
    "{} is not empty; give a directory of its own, and `pacs import` takes files in":
        "{0} は空ではありません。専用のディレクトリを指定してください。ファイルは pacs import で取り込めます",
    "{} names no bucket: {}BUCKET or {}BUCKET/PREFIX": "{0} はバケットを指していません。{1}BUCKET か {2}BUCKET/PREFIX としてください",
    "no bucket may be named {}: 3 to 63 of a-z, 0-9, '.' and '-', at both ends a letter or digit":
        "バケットの名前に {0} は使えません。a-z、0-9、'.'、'-' の 3 から 63 文字で、最初と最後は英数字です",
    "{} is a directory: endpoint, region and credentials belong to {}BUCKET/PREFIX":
        "{0} はディレクトリです。エンドポイント、リージョン、鍵のファイルは {1}BUCKET/PREFIX に付けるものです",
    "{} tells no room, so marks of how much is used mean nothing there":
        "{0} は空き容量を示さないので、使用率の上限や下限は意味を持ちません",
    "a policy of want {}, need {}, degraded {} contradicts itself: 1 <= degraded <= need <= want":
        "want {0}、need {1}、degraded {2} という方針は矛盾しています。1 <= degraded <= need <= want としてください",
    "{} of at least {} copies could be written: {}": "少なくとも {1} つ必要なコピーのうち {0} つしか書けませんでした: {2}",
    "nothing there is selected": "該当するものはありません",
    "nothing in the trash is selected: pacs trash list shows what is there; what was purged is brought back from a backup with "
    "objects by pacs import (docs/operate/deleting.md)":
        "ごみ箱に該当するものはありません。ごみ箱の中身は pacs trash list。消去したものは、オブジェクトを含むバックアップから "
        "pacs import で戻せます (docs/operate/deleting.md)",
    "dry run: {}; do it with --yes": "試行: {0}。実行するには --yes を付けてください",
    "kept: {} objects: {}": "残します: オブジェクト {0}: {1}",
    "{} studies are on hold": "検査 {0} 件を保留にしました",
    "would end the hold of study {}: {}": "検査 {0} の保留を解除します: {1}",
    "{} of the studies are on hold ({}), so nothing was deleted; pacs hold list says why, pacs hold remove ends a hold":
        "検査のうち {0} 件が保留中です ({1})。何も削除しませんでした。理由は pacs hold list、解除は pacs hold remove",
    "nothing is destroyed on this site: pacs retention set --purge by-hand allows it":
        "この施設では何も消去しません。許可するには: pacs retention set --purge by-hand",
    "of {} objects the content that came last is the current one": "{0} 個のオブジェクトで、最後に届いた内容を現行のものにしました",
    "{} is the current content of {}": "{0} を {1} の現行の内容にしました",
    "no object of this study has a later content than the current one: pacs conflicts show":
        "この検査に、現行のものより後に届いた内容を持つオブジェクトはありません: pacs conflicts show",
    "nothing is in conflict there: pacs conflicts list shows where something is":
        "そこに食い違いはありません。pacs conflicts list で一覧が見られます",
    "added rule {}; pacs tier plan shows what it would move": "規則 {0} を加えました。移るものは pacs tier plan で確認できます",
    "would remove rule {}; what it moved stays where it is; do it with --yes":
        "規則 {0} を取り除きます。すでに移したものはそのままです。実行するには --yes を付けてください",
    "removed rule {}": "規則 {0} を取り除きました",
    "a rule {} exists already; pacs tier rule remove {} removes it":
        "規則 {0} はすでにあります。pacs tier rule remove {1} で取り除けます",
    "no tier rule has the name {}; pacs tier rule list shows those there are":
        "{0} という名前の規則はありません。pacs tier rule list で確認できます",
    "rule {} would move everything at once: give it --older-than, --not-read-for, --modality or --make-room":
        "規則 {0} ではすべてが一度に移ります。--older-than、--not-read-for、--modality、--make-room のどれかを付けてください",
    "rule {} would move from {} to {}: name two tiers": "規則 {0} は {1} から {2} へ移すことになります。異なる二つの階層を指定してください",
    "{} is no window: give two different times of day, like 01:00-05:00":
        "{0} は時間帯ではありません。01:00-05:00 のように異なる二つの時刻を指定してください",
    "the server moves by itself from {}": "サーバは {0} に自動で移します",
    "the server does not move by itself": "サーバは自動では移しません",
    "rule {} moves nothing: {}": "規則 {0} では何も移りません: {1}",
    "rule {} cannot move {} objects: too few copies would remain, the target has no room, or a copy is "
    "damaged; to an archive server nothing goes that has other versions":
        "規則 {0} ではオブジェクト {1} 件を移せません。コピーが足りなくなる、移動先に空きがない、コピーが壊れている、"
        "またはほかの版がある (版のあるものはアーカイブサーバへ移しません)",
    "{} objects queued for the running server to send to archive servers: pacs jobs list":
        "オブジェクト {0} 件を待ち行列に入れました。動いているサーバがアーカイブサーバへ送ります: pacs jobs list",
    "{} keeps {} objects that have no copy here; without it nothing brings them back":
        "{0} は、ここにコピーのないオブジェクト {1} 件を保管しています。登録を消すと取り戻せません",
    "rule {} cannot move anything: {}": "規則 {0} では何も移せません: {1}",
    "{} objects of {} studies moved ({})": "オブジェクト {0}、検査 {1} を移しました ({2})",
    "{} files ({}) wait to be removed, the first from {}": "ファイル {0} 個 ({1}) が削除を待っています。最初は {2} から",
    "no file waits to be removed": "削除を待つファイルはありません",
    "somebody moves between tiers already, by hand or at night; try again later":
        "階層間の移動がすでに進行中です（手動または夜間）。後でもう一度試してください",
    "{} has not reported yet; pacs commit show {} tells when it has":
        "{0} からの報告はまだありません。届いたかどうかは pacs commit show {1} で分かります",
    "{} does not vouch for {} objects: pacs commit show {}":
        "{0} はオブジェクト {1} 件の保管を保証していません。pacs commit show {2} を見てください",
    "{}, {}, {}: {} of {} objects failed": "{0}、{1}、{2}: オブジェクト {4} 件のうち {3} 件は保証されません",
    "it could not be read back as it was received": "受信したとおりに読み返せませんでした",
    "it is not held": "保管していません",
    "it is held under another SOP class": "別の SOP クラスで保管しています",
    "its SOP class is not one that is stored": "保管しない SOP クラスです",
    "the transaction UID was used before": "そのトランザクション UID は使用済みです",
    "it has fewer copies than wanted": "コピーが求める数に足りません",
    "reason 0x{}": "理由コード 0x{0}",
    "it was not named in the report": "報告に含まれていませんでした",
    "not known yet": "まだ分かりません",
    "there is no transaction {}; pacs commit list shows those there are":
        "トランザクション {0} はありません。pacs commit list で確認できます",
    "warning: {}": "注意: {0}",
    "wrote {}": "{0} を書きました",
}  # fmt: skip
