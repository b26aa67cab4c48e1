"""How the archive stands, in Japanese: what pacs status, pacs doctor and the alarms tell of it, and why a volume is not
as it should be.
"""

from __future__ import annotations

from typing import Final

OF_STANDING: Final[dict[str, str]] = {
    # pacs status
    "not running": "動いていません",
    "starting": "起動中",
    "{} over TLS": "TLS の {0}",
    "{} on {}, process {}, since {}, {} associations open, {} served":
        "{0} ({1} で待ち受け中)、プロセス {2}、{3} から稼働、開いているアソシエーション {4}、終えたもの {5}",
    "none: every object has the copies that are wanted": "なし(どのオブジェクトにも、求める数のコピーがあります)",
    "objects with fewer copies than are wanted": "コピーが求める数に足りないオブジェクト",
    "damaged copies": "破損したコピー",
    "{} jobs": "{0} の作業",
    "route jobs": "route の作業",
    "no jobs": "作業なし",
    "objects to send": "送信待ち",
    "not sent and tried no more (pacs send list)": "送られず、もう試されないもの (pacs send list)",
    "objects that their archive server did not give back": "アーカイブサーバから戻らなかったもの",
    "files to be removed": "削除待ちのファイル",
    "{} keeps {} objects, {} of them without a copy here":
        "{0} が {1} 件を保管しています。うち {2} 件はここにコピーがありません",
    "not counted yet; pacs doctor --survive 1 counts": "まだ数えていません。pacs doctor --survive 1 で数えられます",
    "{} (copies counted {} minutes ago)": "{0} (コピーを数えたのは {1} 分前)",
    "any {}": "どの {0} 箇所を失っても維持可",
    "none": "余裕なし",
    "not even none, something is amiss now": "今すでに維持できていません",
    "data": "データ",
    "retrieving": "取り出し",
    "storing": "保管",
    "objects had no copy that could be read": "読めるコピーのないオブジェクト",
    "this site is a standby: {} is preferred; it answers, and takes what is sent":
        "このサイトは待機系です(優先サイトは {0})。検索に応じ、送られたものも保管します",
    "this site is a standby: {} is preferred; it answers, and does not take what is sent":
        "このサイトは待機系です(優先サイトは {0})。検索に応じますが、送られたものは保管しません",
    "draining since {} by {}: only partners get an association; pacs failover demote here --end":
        "{0} に {1} が受付を止めました。相手サーバだけが接続できます。再開するには: pacs failover demote here --end",
    "to {}, left: {}": "{0} へ切り替え中。残りの手順: {1}",
    "to {}, left: {} ({})": "{0} へ切り替え中。残りの手順: {1} ({2})",
    # pacs serve
    "{} at {}, data in {}. To try it:": "{0} を {1} で起動します。データは {2} にあります。試すには:",
    "{} at {}, over TLS only, data in {}": "{0} を {1} で起動します(TLS のみ)。データは {2} にあります",
    "the service manager handed over {} sockets, and the server takes one: leave one ListenStream= in the socket unit; "
    "the port for TLS is tls.port of the settings file":
        "サービスマネージャからソケットが {0} 個渡されましたが、使えるのは一つだけです。ソケットユニットの ListenStream= を一行だけにしてください。"
        "TLS のポートは設定ファイルの tls.port です",
    "the service manager handed over {}, and a listening TCP socket is needed: the socket unit has to say {}":
        "サービスマネージャから渡されたものは使えません ({0})。待ち受けている TCP のソケットが必要です。ソケットユニットに書くもの: {1}",
    # alarms
    "this is a test: somebody gave the command pacs alert test": "これは試験です。pacs alert test が実行されました",
    "the {} port does not answer the server's own C-ECHO: {}":
        "{0} のポートが、サーバ自身の C-ECHO に応答しません: {1}",
    "the database does not answer: {}": "データベースが応答しません: {0}",
    "the database takes nothing new: {}": "データベースに新しく書き込めません: {0}",
    "process {} of PostgreSQL ({}, {}) keeps rows of the archive locked for {} minutes: what is sent of these studies is "
    "refused; end its transaction, or SELECT pg_terminate_backend({})":
        "PostgreSQL のプロセス {0} ({1}, {2}) が、アーカイブの行を {3} 分間ロックしています。その検査に属するものは受け付けられません。"
        "そのトランザクションを終わらせるか、SELECT pg_terminate_backend({4}) を実行してください",
    "the database has one standby less: {} (pacs doctor)":
        "データベースの待機系が一つ欠けています: {0} (pacs doctor)",
    "volume {} is offline: {} (pacs storage show {})": "ボリューム {0} がオフラインです: {1} (pacs storage show {2})",
    "volume {} is suspect: {} (pacs storage show {})": "ボリューム {0} に異常の疑いがあります: {1} (pacs storage show {2})",
    "volume {} is full: {} (pacs storage show {})": "ボリューム {0} が満杯です: {1} (pacs storage show {2})",
    "{} MiB are left on the disk of the data directory {}: without room the index takes nothing new; make room there":
        "データディレクトリ {1} のディスクの空きは残り {0} MiB です。空きがなくなるとインデックスに何も登録できません。空きを作ってください",
    "the data directory {} cannot be looked at: {}": "データディレクトリ {0} を調べられません: {1}",
    "volume {} is online, but did not take {} copies in the last 15 minutes: the log and pacs jobs list name the folder, "
    "and why; look into the kernel log, and who may write there":
        "ボリューム {0} はオンラインですが、この 15 分間にコピー {1} 件を書き込めませんでした。どのフォルダか、その理由は、ログと "
        "pacs jobs list にあります。カーネルのログと書き込みの権限を確かめてください",
    "the certificate {} has expired: pacs tls init --yes, or one of your authority":
        "証明書 {0} は期限が切れています。pacs tls init --yes で作り直すか、認証局に発行してもらってください",
    "the certificate {} has expired: move it and its key away, then pacs tls init --yes; every node and peer needs the "
    "new one":
        "認証局の証明書 {0} は期限が切れています。その証明書と鍵を別の場所へ移してから pacs tls init --yes を実行し、"
        "新しいものをすべてのノードと接続相手に配ってください",
    "the certificate {} expires in {} days: move it and its key away, then pacs tls init --yes; every node and peer "
    "needs the new one":
        "認証局の証明書 {0} はあと {1} 日で期限が切れます。その証明書と鍵を別の場所へ移してから pacs tls init --yes を実行し、"
        "新しいものをすべてのノードと接続相手に配ってください",
    "the certificate {} expires in {} days: pacs tls init --yes, or one of your authority":
        "証明書 {0} はあと {1} 日で期限が切れます。pacs tls init --yes で作り直すか、認証局に発行してもらってください",
    "move it and its key away, then pacs tls init --yes; every node and peer needs the new one":
        "その証明書と鍵を別の場所へ移してから pacs tls init --yes を実行し、新しいものをすべてのノードと接続相手に配ってください",
    "the audit trail cannot be signed: {}": "監査記録に署名できません: {0}",
    "the last checkpoint of the audit trail is {} days old; the log says why":
        "監査記録の最後のチェックポイントは {0} 日前のものです。理由はログにあります",
    "{} objects have fewer copies than are wanted (pacs jobs list)":
        "コピーが求める数に足りないオブジェクトが {0} 件あります (pacs jobs list)",
    "{} copies on volume {} were found damaged today (pacs verify, pacs storage show {})":
        "ボリューム {1} で今日、破損したコピーが {0} 件見つかりました (pacs verify、pacs storage show {2})",
    "{} damaged copies are not replaced (pacs verify)": "破損したコピー {0} 件がまだ修復されていません (pacs verify)",
    "the oldest {} job is overdue for {} days (pacs jobs list)":
        "最も古い {0} の作業が予定より {1} 日遅れています (pacs jobs list)",
    "the oldest {} job is overdue for {} hours (pacs jobs list)":
        "最も古い {0} の作業が予定より {1} 時間遅れています (pacs jobs list)",
    "partner {} lacks {} objects, the oldest for {} days":
        "相手サーバ {0} に {1} 件が届いていません。最も古いものは {2} 日前からです",
    "partner {} lacks {} objects, the oldest for {} hours":
        "相手サーバ {0} に {1} 件が届いていません。最も古いものは {2} 時間前からです",
    "partner {} is not reachable since {}: {}": "相手サーバ {0} に {1} から接続できません: {2}",
    "volume {} is full in {} days, by how it filled in the last two weeks":
        "ボリューム {0} は、この二週間の増え方だとあと {1} 日で満杯になります",
    "{} has sent nothing since {}h UTC: {} of its usual hours, and never more than {} in the weeks before":
        "{0} から {1} 時 (UTC) 以降、何も届いていません。いつもなら届く時間帯が {2} 時間続いています(これまでの最長は {3} 時間)",
    # pacs doctor
    "{} of the database is {}: a power cut may take what was acknowledged":
        "データベースの {0} が {1} です。停電すると、保存したと答えたものが失われることがあります",
    "{} = on in postgresql.conf there, then reload it":
        "そのサーバの postgresql.conf で {0} = on にし、読み直させてください",
    "end other programs that have its file open, then restart pacs serve":
        "そのファイルを開いている他のプログラムを終え、pacs serve を再起動してください",
    "no server runs here": "ここではサーバが動いていません",
    "see pacs storage show {}": "pacs storage show {0} を見てください",
    "volume_paths names {}, but no volume has that name": "volume_paths の {0} という名前のボリュームはありません",
    "pacs storage list, then pacs.yaml": "pacs storage list で確かめ、pacs.yaml を直してください",
    "the clock of this node is {} s from that of the database": "このノードの時計は、データベースの時計と {0} 秒ずれています",
    "the clock of {} is {} s from ours": "{0} の時計は、こちらの時計と {1} 秒ずれています",
    "{} does not get {} objects that it is owed: {}": "{0} に渡すべき {1} 件が届いていません: {2}",
    "pacs ae test {}, then pacs jobs list": "pacs ae test {0} で確かめ、次に pacs jobs list を見てください",
    "set both by NTP": "両方を NTP で合わせてください",
    "{} was last seen at {}": "{0} が最後に確認されたのは {1} です",
    "pacs serve there; where it does serve, set its clock by NTP; a week later it is forgotten":
        "そのノードで pacs serve を起動してください。動いている場合は、その時計を NTP で合わせてください。一週間たつと登録は消えます",
    "the nodes run different releases: {}": "ノードの版が揃っていません: {0}",
    "install one release on every node": "すべてのノードに同じ版を入れてください",
    "{} is on the device of {}, but in another fault domain":
        "{0} は {1} と同じ装置にありますが、故障範囲が別になっています",
    "{} studies have objects under the UIDs of objects of other studies":
        "ほかの検査のオブジェクトと同じ UID のオブジェクトを持つ検査が {0} 件あります",
    "{} copies are wanted, but there are {} fault domains": "コピーを {0} 個求めていますが、故障範囲は {1} つです",
    "{} objects have fewer copies than are wanted": "コピーが求める数に足りないオブジェクトが {0} 件あります",
    "{} copies are damaged": "破損したコピーが {0} 件あります",
    "{} did not give back {} objects that it keeps": "{0} が、保管している {1} 件を戻しませんでした",
    "{} objects wait for {}: {}": "{1} への送信を {0} 件が待っています: {2}",
    "the route {} forwards nothing: {}": "ルート {0} は何も転送していません: {1}",
    "{} objects were not sent, and are tried no more": "{0} 件は送られておらず、もう試されません",
    "pacs send list; then pacs send retry, or drop":
        "pacs send list で理由を確かめ、pacs send retry (送り直す) か drop (やめる) を実行してください",
    "a failover to {} is unfinished": "{0} への切り替えが途中です",
    "pacs failover to {}, or pacs failover abandon":
        "続けるには pacs failover to {0}、取りやめるには pacs failover abandon",
    "no new associations are taken since {}": "{0} から新しいアソシエーションを受け付けていません",
    "until then no checkpoint is taken: docs/operate/audit.md":
        "直すまでチェックポイントは作られません: docs/operate/audit.md",
    "the last checkpoint cannot be read: {}": "最後のチェックポイントを読めません: {0}",
    "a new one of the site's authority in its place": "施設の認証局に新しい証明書を発行してもらい、置き換えてください",
    "a new one of the site's authority in its place, then pacs partner set --fingerprint there":
        "施設の認証局に新しい証明書を発行してもらい、置き換えたあと、相手側で pacs partner set --fingerprint を実行してください",
    "{} cannot be called: {}": "{0} に接続できません: {1}",
    "who trusts {} refuses the certificate {}: {}": "{0} を信頼する相手は証明書 {1} を受け付けません: {2}",
    "the certificates between it and the authority's behind it in its file":
        "その証明書と認証局の証明書の間にある中間証明書を、同じファイルのその証明書のあとに加えてください",
    "pacs tls init --yes, then pacs partner set --fingerprint there":
        "pacs tls init --yes のあと、相手側で pacs partner set --fingerprint を実行してください",
    # pacs jobs, pacs storage
    "{} of {} jobs will be tried at once": "作業 {1} 件のうち {0} 件をすぐに試します",
    "{} of {} jobs paused": "作業 {1} 件のうち {0} 件を止めました",
    "{} of {} jobs go on": "作業 {1} 件のうち {0} 件を再開しました",
    "nothing is begun any more of: {}": "新しく始めなくなった作業: {0}",
    "goes on: {}": "再開した作業: {0}",
    "no job was named; pacs jobs list shows their numbers":
        "作業が指定されていません。番号は pacs jobs list で確認できます",
    "would forget job {}, {} {}; do it with --yes": "作業 {0} ({1} {2}) を取り消します。実行するには --yes を付けてください",
    "would have the {} copies on {} made elsewhere, {} of them the only ones: --yes":
        "{1} にあるコピー {0} 件(うち唯一のもの {2} 件)を別の場所にも作ります。実行するには --yes を付けてください",
    "while {} is emptied, whatever is sent here is refused (0xA700): {} other fault domains take new objects, and {} are "
    "needed; first: pacs storage add":
        "{0} を空にしている間、送られたものはすべて拒否します (0xA700)。新しいオブジェクトを置けるほかの故障範囲は {1} つで、"
        "必要なのは {2} つです。先に pacs storage add を実行してください",
    "would forget {} with its {} copies; its files stay; do it with --yes":
        "{0} の登録と、そのコピー {1} 件の記録を消します。ファイルは残ります。実行するには --yes を付けてください",
    "a server may be writing to {} at this moment: first pacs storage drain {} --yes":
        "サーバが {0} に書き込んでいるかもしれません。先に pacs storage drain {1} --yes を実行してください",
    "{} is so already; nothing was changed": "{0} はすでにその設定です。何も変えていません",
    "{} is not volume {}: {}": "{0} はボリューム {1} ではありません: {2}",
    "another volume is at {} (id {}); nothing was changed":
        "{0} には別のボリューム (id {1}) があります。何も変えていません",
    # refusals of peers
    "would change {}: {}": "{0} の変更点: {1}",
    "{} of {} peers were left as they are; change them with --yes":
        "接続相手 {1} 件のうち {0} 件は変えていません。変更するには --yes を付けてください",
    "{} exists and would be overwritten; do it with --yes":
        "{0} はすでにあり、上書きされます。実行するには --yes を付けてください",
    "{} is not a list of peers, like one that pacs ae export writes":
        "{0} は pacs ae export が書くような接続相手の一覧ではありません",
    "{}, peer {}: {}; nothing was changed": "{0}、{1} 番目の接続相手: {2}。何も変えていません",
    "{} is registered already; change it with: pacs ae set {}":
        "{0} はすでに登録されています。変更するには: pacs ae set {1}",
    "{} only calls us: it has no address; give it one with: pacs ae set {} --host H --port P":
        "{0} は接続してくるだけの相手で、アドレスの登録がありません。登録するには: pacs ae set {1} --host H --port P",
    "{} did not call from {}; it did from {}": "{0} は {1} からは接続していません。接続元は {2} です",
    "{} showed several certificates: choose its address with --from":
        "{0} は複数の証明書を示しました。--from でアドレスを選んでください",
    "alert: neither command nor mail nor webhook is given, so that alarms stand in the log alone":
        "alert: command、mail、webhook のどれも設定されていないため、警報はログにしか出ません",
    "nothing is begun of: {}; pacs jobs resume --kind lets it go on":
        "新しく始めない作業: {0}。再開するには: pacs jobs resume --kind",
    "{} cannot be read: {}; pacs tls init makes certificates": "{0} を読めません: {1}。証明書は pacs tls init で作れます",
    # pacs db check
    "kind": "種類",
    "contents": "内容",
    "schema": "スキーマ",
    "tables": "表",
    "writing": "書き込み",
    "another name in its URL, or pacs restore-backup; pacs db current says more":
        "URL のデータベース名を直すか、pacs restore-backup。くわしくは pacs db current",
    "it has schema {} of a newer release": "より新しい版のスキーマ {0} です",
    "install that release or a later one": "その版か、それ以降の版を入れてください",
    "it has schema {}, this release needs {}": "スキーマは {0}、この版に必要なのは {1} です",
    "stop the server, then pacs db upgrade": "サーバを止めてから pacs db upgrade",
    "start it, or mend the way to it; database in pacs.yaml names it":
        "データベースを起動するか、接続を直してください。場所は pacs.yaml の database にあります",
    "make room, and give pacs the right to write to it; of PostgreSQL, see that it is no standby":
        "空きを作り、pacs に書き込みの権限を与えてください。PostgreSQL では、待機系でないことを確かめてください",
    "undo what was changed by hand, or pacs restore-backup": "手で変えたものを元に戻すか、pacs restore-backup",
    "the table {} is missing": "表 {0} がありません",
    "the column {}.{} is missing": "列 {0}.{1} がありません",
    "the column {}.{} is none of this release": "列 {0}.{1} はこの版のものではありません",
    "the column {}.{} has another {}": "列 {0}.{1} の {2} が違います",
    "the index {} of {} is missing, or is another one": "表 {1} の索引 {0} がないか、違うものです",
    "the constraint {} of {} is missing, or is another one": "表 {1} の制約 {0} がないか、違うものです",
    "the constraint {} of {} is none of this release": "表 {1} の制約 {0} はこの版のものではありません",
    "row {} of the table {} belongs to a row of {} that is not there": "表 {1} の行 {0} が属する {2} の行がありません",
}  # fmt: skip

WHY_A_PART: Final[dict[str, str]] = {
    "it did not take {} of the last {} objects: look into the log for the reason, mostly a full disk":
        "直近の {1} 件のうち {0} 件をインデックスに記録できませんでした。理由はログを見てください(多くはディスクの空き不足)",
    "not looked at yet": "まだ確認していません",
    "it does not answer; is its server or disk alive?": "応答しません。そのサーバやディスクが動いているか確かめてください",
    "volume {} did not answer in time; the attempt was abandoned":
        "ボリューム {0} が時間内に応答しなかったため、処理を打ち切りました",
    "it is mounted read-only; look into the kernel log for why":
        "読み取り専用でマウントされています。理由はカーネルのログを見てください",
    "nothing can be written: {}": "書き込めません: {0}",
    "nothing can be written: {}; make room, raise the quota, or add a volume":
        "書き込めません: {0}。空きを作るか、クォータを増やすか、ボリュームを追加してください",
    "nothing can be written: {}; look into the kernel log, and who may write there":
        "書き込めません: {0}。カーネルのログと、そこに書き込める利用者を確かめてください",
    "an admin has it emptied": "管理者が空にしています",
    "an admin has it emptied; {}": "管理者が空にしています。{0}",
    "an admin set it so": "管理者がそう設定しました",
    "many damaged copies were found on it in one day: check the disk, then pacs storage set {} --trust":
        "一日に多くの破損が見つかりました。ディスクを調べてから pacs storage set {0} --trust を実行してください",
    "more than its high-water mark of {} % is used; make room or add a volume":
        "使用率が上限の {0} % を超えました。空きを作るか、ボリュームを追加してください",
    "{} MiB are free and {} MiB are kept in reserve; make room or add a volume":
        "空きは {0} MiB ですが、{1} MiB を予備として残します。空きを作るか、ボリュームを追加してください",
    "no inodes are left; make room or add a volume": "inode が残っていません。空きを作るか、ボリュームを追加してください",
    "there is no {} in it: mount or name the right one; where its files are lost, "
    "pacs storage drain, pacs storage remove, pacs storage add":
        "{0} がありません。正しいボリュームをマウントするか指定してください。ファイルが失われたのなら、pacs storage drain、"
        "pacs storage remove、pacs storage add の順に行ってください",
    "{} is damaged ({}); restore it from a backup": "{0} が壊れています ({1})。バックアップから戻してください",
    "another volume is mounted there (id {}); mount the right one":
        "別のボリューム (id {0}) がマウントされています。正しいものをマウントしてください",
    "it cannot be opened: {}": "開けません: {0}",
    "the S3 server does not answer: {}: check the endpoint, that it runs, and the firewalls between":
        "S3 サーバが応答しません ({0})。エンドポイントが正しいこと、サーバが動いていること、途中のファイアウォールを確かめてください",
    # as it is told of a volume: what any other server does not answer would take it, with that volume
    "{}: the S3 server does not answer: {}: check the endpoint, that it runs, and the firewalls between":
        "{0}: S3 サーバが応答しません ({1})。エンドポイントが正しいこと、サーバが動いていること、途中のファイアウォールを"
        "確かめてください",
    "there are no keys for the S3 server: name a file with them (--credentials-file), or set "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for the processes of the server too":
        "S3 サーバの鍵がありません。鍵のファイルを --credentials-file で指定するか、サーバのプロセスにも "
        "AWS_ACCESS_KEY_ID と AWS_SECRET_ACCESS_KEY を設定してください",
    "mount it; where it is at another path now: pacs storage set {} --path PATH":
        "マウントしてください。別のパスに移したのなら pacs storage set {0} --path PATH",
    "No such file or directory": "そのようなファイルやディレクトリはありません",
    "Permission denied": "許可がありません",
    "Not a directory": "ディレクトリではありません",
    "Input/output error": "入出力エラー",
    "[Errno 111] Connection refused": "接続が拒否されました",
    "[Errno 113] No route to host": "ホストへの経路がありません",
    "timed out": "時間切れ",
    # how it is mounted
    "it lies in memory and is gone after a restart": "メモリ上にあり、再起動すると消えます",
    "use a disk or a NAS": "ディスクか NAS を使ってください",
    "barriers are off: a power cut can lose what was flushed":
        "バリアが無効です。停電すると、書き込み済みのものが失われることがあります",
    "take nobarrier out of fstab": "fstab から nobarrier を外してください",
    "it is mounted read-only": "読み取り専用でマウントされています",
    "write rw in fstab, and look into the kernel log for why": "fstab に rw と書き、理由はカーネルのログを見てください",
    "soft: a write that times out may be neither done nor undone, and is told as an error":
        "soft: 時間切れの書き込みが、済んだとも済んでいないとも言えないまま、エラーになります",
    "write hard instead of soft in fstab": "fstab で soft を hard に直してください",
    "whether the NAS exports with sync cannot be seen from here: with async it lies about every flush":
        "NAS が sync で公開しているかは、ここからは分かりません。async だと、書き込み済みという返事が正しくありません",
    "write sync in the exports of the NAS": "NAS の exports に sync と書いてください",
    "soft: operations fail while the NAS restarts": "soft: NAS の再起動中は操作が失敗します",
    "write hard in fstab": "fstab に hard と書いてください",
    "whether the NAS flushes when it is asked to cannot be seen from here":
        "NAS が求めに応じてディスクに書き込むかは、ここからは分かりません",
    "on Samba write `strict sync = yes` for the share, which is its default":
        "Samba では、その共有に `strict sync = yes` と書いてください(初期値です)",
    "a picture cannot be sent compressed ({}): {}": "画像を圧縮して送れません ({0}): {1}",
    "its pixels are others afterwards": "画素が変わります",
    "install another release of imagecodecs": "imagecodecs の別の版を入れてください",
    "its clock is {} s from ours": "その時計は、こちらの時計と {0} 秒ずれています",
    "{} cannot be read by {}, the user of the server": "サーバの利用者 {1} は {0} を読めません",
    "chown {}: {}; the folders above it have to let {} in":
        "chown {0}: {1}。その上のフォルダにも {2} が入れるようにしてください",
    "put it there, or correct the line": "そこに置くか、その行を直してください",
    # what a setting may be
    "is {}, but has to be between {} and {}": "値は {0} ですが、{1} から {2} まででなければなりません",
    "unknown setting; the nearest is {}": "そのような設定はありません。最も近いものは {0} です",
    "needs a whole number, not '{}'": "整数を書いてください('{0}' は整数ではありません)",
    "is true or false, not '{}'": "true か false を書いてください('{0}' ではなく)",
    "is set twice": "二度設定されています",
    "'{}' is neither an IP address nor a host name": "'{0}' は IP アドレスでもホスト名でもありません",
    "'{}' is not an AE title: 1 to 16 printable ASCII characters, no backslash":
        "'{0}' は AE タイトルにできません。バックスラッシュを除く ASCII 文字 1 から 16 文字にしてください",
    "'{}' is no URL that begins with https:// or http://": "'{0}' は https:// か http:// で始まる URL ではありません",
    "'{}' has no port from 1 to 65535; correct it, or leave it out for the usual one":
        "'{0}' のポートは 1 から 65535 までの数ではありません。直すか、通常のポートなら省いてください",
    "'{}' is no mail address, like pacs@hospital.example":
        "'{0}' は pacs@hospital.example のようなメールアドレスではありません",
    "{} is not there": "{0} がありません",
    "{} is no program that can be run": "{0} は実行できるプログラムではありません",
}  # fmt: skip
