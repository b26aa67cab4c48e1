"""Why something is refused, in Japanese: what was typed or stands in the settings, where volumes and backups may lie, and
the ends of sentences that say what is done.
"""

from __future__ import annotations

from typing import Final

OF_REFUSALS: Final[dict[str, str]] = {
    # what is done, behind the number of objects or studies
    "{} objects of {} studies ({}) {}": "オブジェクト {0}、検査 {1} ({2}): {3}",
    "{} objects of {} studies ({}) would move; pacs tier plan lists them":
        "オブジェクト {0}、検査 {1} ({2}) が移る予定です。内訳は pacs tier plan で確認できます",
    "go to the trash": "ごみ箱へ移します",
    "come back from the trash": "ごみ箱から戻します",
    "are destroyed": "消去します",
    "of {} objects of {} studies ({}) {}: {}, before it went no further":
        "オブジェクト {0}、検査 {1} ({2}): {3}。そのうち {4} 件を行ったところで止まりました",
    "of {} objects of {} studies ({}) {}: {}; the other {} stay as they are, because they were put on hold, or decided "
    "otherwise, meanwhile: pacs hold list, pacs trash list":
        "オブジェクト {0}、検査 {1} ({2}): {3}。行ったのはそのうち {4} 件です。残りの {5} 件は、その間に保留にされたか別の決定がされたため、"
        "そのままです: pacs hold list、pacs trash list",
    "{} studies may be deleted again": "検査 {0} 件は保留がなくなり、削除できます",
    "the clock of this node is {} s from that of {}, and nothing is destroyed by a clock that may be wrong: set both by NTP":
        "このノードの時計は {1} の時計と {0} 秒ずれています。狂っているかもしれない時計では何も消去しません。両方を NTP で合わせてください",
    "is paused": "止めました",
    "goes on": "再開しました",
    "none is set": "設定されていません",
    "a copy of its database": "データベースの写し",
    "a restore of its index": "インデックスの復元",
    "the upgrade of its database": "データベースの更新",
    "purge {}, {} days in the trash, {} days to keep": "消去 {0}、ごみ箱に {1} 日、保管 {2} 日",
    "there is no volume of tier {}": "階層 {0} のボリュームがありません",
    "there is no volume of tier {}; pacs storage add NAME PATH --tier {} adds one":
        "階層 {0} のボリュームがありません。pacs storage add NAME PATH --tier {1} で追加できます",
    # decisions about objects
    "no study is held that these keys select; pacs find studies KEY=VALUE shows what does":
        "この条件に合う検査は保管していません。条件は pacs find studies KEY=VALUE で確かめられます",
    "{} contents under this SOP Instance UID begin so; there are: {}":
        "この SOP Instance UID でそう始まる内容は {0} 件です。あるのは: {1}",
    "this content is {}, so it cannot be made the current one": "この内容は {0} なので、現在のものにはできません",
    "at least one KEY=VALUE that selects something is needed, for instance StudyInstanceUID=1.2.3":
        "対象を絞る KEY=VALUE が一つ以上必要です (例: StudyInstanceUID=1.2.3)",
    "a reason is needed; whoever reads the history later has nothing else: --reason TEXT":
        "理由が必要です。あとで履歴を読む人の手がかりはこれだけです: --reason TEXT",
    "an export needs at least one KEY=VALUE, for instance PatientID=1234":
        "書き出しには KEY=VALUE が一つ以上必要です (例: PatientID=1234)",
    "{} is no date: write 20260131, 20260101-20260131, -20260131 or 20260101-":
        "{0} は日付ではありません。20260131、20260101-20260131、-20260131、20260101- のように書いてください",
    "{} is no time: write 1530, 153000, 0800-1200, -1200 or 0800-":
        "{0} は時刻ではありません。1530、153000、0800-1200、-1200、0800- のように書いてください",
    "would remove {} with its values, which can be read from the files again; do it with --yes":
        "{0} を値とともに取り除きます。値はファイルから読み直せます。実行するには --yes を付けてください",
    "what is to be sent is named exactly: no wildcard, no list, and not empty":
        "送るものは正確に指定してください。ワイルドカード、複数の値、空の値は使えません",
    "the patient ID names patients of several issuers ({}): --issuer":
        "その患者 ID は複数の発行元にあります ({0})。--issuer で選んでください",
    "there is a route {} already; remove it first, or choose another name":
        "転送ルート {0} はすでにあります。先に取り除くか、別の名前にしてください",
    "{} is not registered: pacs ae add {} HOST PORT": "{0} は登録されていません。登録するには: pacs ae add {1} HOST PORT",
    "{} has no address to be called at: pacs ae set {} --host H --port P":
        "{0} のアドレスが登録されていません。登録するには: pacs ae set {1} --host H --port P",
    "{} is what every site calls itself: give the partner another name":
        "{0} はどのサイトも自分を呼ぶ名前です。相手サーバには別の名前を付けてください",
    "volume {} is {} ({}); bring it back first, because its files cannot be told from missing ones":
        "ボリューム {0} は {1} です ({2})。先に使えるようにしてください。ファイルがないのか、見えないだけなのかが分かりません",
    "volume {} is offline ({}); bring it back first, because its files cannot be told from missing ones":
        "ボリューム {0} はオフラインです ({1})。先に使えるようにしてください。ファイルがないのか、見えないだけなのかが分かりません",
    "another node of this archive serves, {}: stop every node before {}":
        "このアーカイブの別のノード {0} が動いています。先にすべてのノードを止めてください: {1}",
    "{} has never answered, so it is not known which site it is":
        "{0} は一度も応答していないため、どのサイトか分かりません",
    "{} is a member that Patroni runs: name the one that is to lead: pacs failover to MEMBER":
        "{0} は Patroni のメンバーです。主系にするメンバーを指定してください: pacs failover to MEMBER",
    "{} is no attribute of patients or studies that every archive is asked for":
        "{0} は、どのアーカイブにも尋ねる患者や検査の属性ではありません",
    "{} is counted and cannot be searched; {}= with nothing behind shows it":
        "{0} は数えて求める値なので、検索には使えません。表示するには {1}= とだけ書いてください",
    "{} is only made for answers on the network; it cannot be asked for":
        "{0} はネットワークへの応答でだけ作られる値で、ここでは使えません",
    "this volume is known already, as {} at {}; nothing was changed":
        "このボリュームは、すでに {0} ({1}) として登録されています。何も変えていません",
    "the volume was removed meanwhile; pacs storage list shows those there are":
        "このボリュームは、その間に登録から外されました。登録されているものは pacs storage list で分かります",
    "another volume has the name {}; nothing was changed":
        "{0} という名前のボリュームがほかにあります。何も変えていません",
    "{} accepts no presentation context for Storage Commitment: enable it there for us":
        "{0} はストレージコミットメントのプレゼンテーションコンテキストを受け入れません。相手側で、このアーカイブに許可してください",
    "the study has {} objects; at most {} can be asked for at once":
        "検査にはオブジェクトが {0} 件あります。一度に依頼できるのは {1} 件までです",
    "{} did not take the request: status 0x{}; its log says why":
        "{0} は依頼を受け付けませんでした (ステータス 0x{1})。理由は相手のログにあります",
    # options that belong together
    "--as-site goes with --peer and nothing else": "--as-site は --peer とだけ使えます",
    "--priors-like goes with --priors": "--priors-like は --priors と一緒に使います",
    "--peer and --any-peer contradict each other": "--peer と --any-peer は同時に使えません",
    "--dir is for another machine: say with --name what that is called":
        "--dir は別の計算機のためのものです。その名前を --name で書いてください",
    "a low-water mark of {} % above the high-water mark of {} % would never be reached: give a lower one with "
    "--low-water": "下限 {0} % は上限 {1} % より大きいため、届くことがありません。--low-water で小さくしてください",
    "a user's name has up to {} characters, none of them a control character":
        "利用者の名前は {0} 文字までで、制御文字は使えません",
    "as_user, passcode_file and tls go together: a passcode is sent over TLS alone":
        "as_user、passcode_file、tls は一緒に書きます。パスコードは TLS でだけ送ります",
    "{} is one value, not several": "{0} に書ける値は一つです",
    "{} is a list of texts": "{0} は文字列のリストです",
    "is nested too deeply": "入れ子が深すぎます",
    "holds more than 100,000 values, where each alias (*name) counts with all that it stands for":
        "値が 100,000 個を超えています。別名 (*名前) は、指すものすべてを数えます",
    "is larger than 1 MiB": "1 MiB を超えています",
    "'{}' is not a list": "'{0}' はリストではありません",
    "'{}' has a line break or a control character in it": "'{0}' に改行か制御文字があります",
    "'{}' is not a number of answers: 0 for no limit of its own, or more":
        "'{0}' は応答の数ではありません。0 (制限なし) 以上の数です",
    "'{}' is not a network, like 192.168.10.0/24": "'{0}' は 192.168.10.0/24 のようなネットワークではありません",
    "unknown {}; known are {}": "{0} は使えません。使えるのは {1} です",
    # the settings file
    "{}: the file has to be a list of `name: value` lines": "{0}: `名前: 値` の行を並べたファイルにしてください",
    "{}: is not UTF-8 text": "{0}: UTF-8 の文字ではありません",
    "is one of {}, not '{}'": "{0} のどれかです('{1}' ではなく)",
    "needs one value, not a list or a mapping": "値を一つだけ書いてください(リストや入れ子は書けません)",
    "needs a list, like [A, B]": "[A, B] のようなリストを書いてください",
    "needs a {}number, not '{}'": "{0}数を書いてください('{1}' は数ではありません)",
    "needs `name: path` lines below it": "その下に `名前: パス` の行を書いてください",
    "needs the name of a claim, like sub": "sub のようなクレームの名前を書いてください",
    "needs a user name in database, like postgresql://pacs@localhost/pacs":
        "database に postgresql://pacs@localhost/pacs のように利用者名を書いてください",
    "needs a file: sqlite:///index.db in data_dir, or sqlite:////an/absolute/path":
        "ファイルを書いてください。data_dir の中なら sqlite:///index.db、絶対パスなら sqlite:////an/absolute/path",
    "is not YAML": "YAML として読めません",
    "has a name twice": "同じ名前が二度あります",
    "has a line break or a control character in it": "改行か制御文字があります",
    "holds a user name; that is said in patroni.user, and the password in a file":
        "利用者名が入っています。利用者名は patroni.user に、パスワードはファイルに書いてください",
    "holds a user name, which a POST does not tell": "利用者名が入っていますが、POST では送りません",
    "holds a password; put it in a file and name that file (database_password_file in pacs.yaml)":
        "パスワードが入っています。ファイルに書き、そのファイルを pacs.yaml の database_password_file に書いてください",
    "'{}' is not the URL of a member's REST API, like http://db1:8008":
        "'{0}' は http://db1:8008 のような、メンバーの REST API の URL ではありません",
    "is a URL that begins with sqlite:/// or postgresql://": "sqlite:/// か postgresql:// で始まる URL を書いてください",
    "the path of {} is {}, but has to begin with /": "{0} のパスは {1} ですが、/ で始めてください",
    "host: {} is reached from the Internet ({}), and there is no TLS on this port: bind it to a private address and let "
    "the world use tls.port, or turn public_without_tls on":
        "host: {0} にはインターネットから届きますが ({1})、このポートには TLS がありません。内部のアドレスにして外からは tls.port を"
        "使わせるか、public_without_tls を有効にしてください",
    "http.host: {} is reached from the Internet ({}), and anybody could read there how the archive does: bind it to a "
    "private address": "http.host: {0} にはインターネットから届き ({1})、誰でも状態を読めます。内部のアドレスにしてください",
    # files and directories
    "log.file: {} cannot be written: {}; its folder has to be there, and the file, where there is one, belong to the "
    "user of the server":
        "log.file: {0} に書けません ({1})。フォルダがすでにあり、ファイルがあればサーバの利用者のものでなければなりません",
    "{} cannot be written: {}; what is done now is not told there": "{0} に書けません ({1})。今行うことはそこに記録されません",
    "{} cannot be written: {}; choose another --data": "{0} に書けません ({1})。別の --data にしてください",
    "{} has a name that is no text, which no database takes; choose another --data":
        "{0} の名前は文字列ではないため、データベースに入れられません。別の --data にしてください",
    "{} cannot be written: {}; is tls.directory right?": "{0} に書けません ({1})。tls.directory は正しいですか",
    "{} cannot be made: {}; choose another --data": "{0} を作れません ({1})。別の --data にしてください",
    "{} cannot be made: {}; choose another --to": "{0} を作れません ({1})。別の --to にしてください",
    "{} is there already; choose an empty folder, with --to":
        "{0} は既にあります。--to で空のフォルダを指定してください",
    "{} cannot be made a folder: {}; choose another --to": "{0} をフォルダにできません ({1})。別の --to にしてください",
    "{} cannot be written: {}; make room there": "{0} に書けません ({1})。空きを作ってください",
    "{} cannot be written: {}; is data_dir right, and there?":
        "{0} に書けません ({1})。data_dir が正しく、存在するか確かめてください",
    "{} cannot be written: {}": "{0} に書けません ({1})",
    "{} cannot be written: {}; then give the same command again":
        "{0} に書けません ({1})。書けるようにしてから、同じコマンドをもう一度実行してください",
    "{}: cannot be read: {}; no archive is there; name its settings file with -c, or make one with pacs init":
        "{0} を読めません ({1})。ここにアーカイブはありません。設定ファイルを -c で指定するか、pacs init で作ってください",
    "--all is every job: give it without numbers, or the numbers alone":
        "--all はすべての作業を表します。番号を付けずに --all を使うか、番号だけを指定してください",
    "cannot be read: {}; let {} read it, or run pacs as the user of the server":
        "読めません ({0})。{1} に読む権限を与えるか、サーバの利用者で pacs を実行してください",
    "{}: cannot be read: {}; run pacs as the user of the server":
        "{0}: 読めません ({1})。サーバの利用者で pacs を実行してください",
    "cannot be read: {}; run pacs as the user of the server":
        "読めません ({0})。サーバの利用者で pacs を実行してください",
    "{} cannot be read: {}; correct it, or run pacs as the user of the server":
        "{0} を読めません ({1})。パスを直すか、サーバの利用者で pacs を実行してください",
    "{} cannot be read: {}; run pacs as the user of the server, or name a file with -c":
        "{0} を読めません ({1})。サーバの利用者で pacs を実行するか、-c でファイルを指定してください",
    "files and rows agree; files of the last 15 minutes were not looked at":
        "ファイルとインデックスは一致しています。直近 15 分のファイルは見ていません",
    "{} cannot be read: {}; is it mounted?": "{0} を読めません ({1})。マウントされていますか",
    "{} cannot be read: {}; back up as the user of the server":
        "{0} を読めません ({1})。サーバの利用者でバックアップしてください",
    "No space left on device": "空きがありません",
    "Read-only file system": "読み取り専用です",
    "Connection refused": "接続を拒否されました",
    "Connection refused Is the server running on that host and accepting TCP/IP connections?":
        "接続を拒否されました",
    # volumes
    "{} is, is inside, or is around another volume ({}); volumes must not overlap":
        "{0} は別のボリューム ({1}) と同じか、その中か、それを含んでいます。ボリュームは重ねられません",
    "{} is a symbolic link; give the directory that it points to":
        "{0} はシンボリックリンクです。リンク先のディレクトリを指定してください",
    "{} is not a plain absolute path; give {}": "{0} は絶対パスではありません。{1} と指定してください",
    "{} is the root of the file system; give a directory of its own":
        "{0} はファイルシステムの最上位です。専用のディレクトリを指定してください",
    "the path is empty: name a directory that is there, or s3://BUCKET/PREFIX":
        "パスが空です。すでにあるディレクトリか s3://BUCKET/PREFIX を指定してください",
    "'{}' is no volume name: letters, digits, '-', '_', '.', at most {}":
        "'{0}' はボリュームの名前にできません。英数字と '-'、'_'、'.' で {1} 文字までです",
    "{} cannot be used: {}; make room there": "{0} を使えません ({1})。そこに空きを作ってください",
    "{} cannot be used: {}; check its owner and mount options":
        "{0} を使えません ({1})。所有者とマウントのオプションを確かめてください",
    "{} cannot be used: {}; root may not write there, as on a NAS that takes it for nobody: run pacs as the user of the server":
        "{0} を使えません ({1})。root を認めない NAS などで、root は書けません。サーバの利用者で pacs を実行してください",
    "{} cannot be used by {}, the user of the server, to whom {} belongs: chown -R {}: {}":
        "{2} の所有者であるサーバの利用者 {1} は、{0} を使えません。chown -R {3}: {4} を実行してください",
    "every user of this machine may write {}: look who did, and chmod o-w it, or mount it with a file_mode that says so":
        "{0} にはこの計算機の誰でも書けます。書いた人がいないか確かめて chmod o-w するか、file_mode を付けてマウントしてください",
    "{} is held by a server that runs: that of another archive, where two on one volume would take each other's files for "
    "litter, or a node of this one that hangs since before the volume was removed; stop that server first, or join the "
    "database of the other archive with pacs init --database":
        "{0} は動いているサーバが使っています。別のアーカイブのサーバか (二つのアーカイブが一つのボリュームを使うと、互いのファイルを不要なものとみなします)、"
        "ボリュームを外す前から固まっているこのアーカイブのノードです。先にそのサーバを止めるか、"
        "pacs init --database で別のアーカイブのデータベースに加わってください",
    "the settings of this node say where {} is (volume_paths); the path of the other nodes is changed on one of them, "
    "where its sentinel can be read":
        "{0} の場所はこのノードの設定 (volume_paths) にあります。ほかのノードのパスは、その目印ファイルを読めるノードで変えてください",
    "{} cannot be a prefix: letters, digits and ! _ . * ' ( ) - between single slashes":
        "{0} は接頭辞にできません。英数字と ! _ . * ' ( ) - を一つずつの / で区切ってください",
    "the endpoint holds a user or password: put keys into a file, and name that with the credentials":
        "エンドポイントに利用者かパスワードが入っています。鍵はファイルに書き、--credentials-file で指定してください",
    "{} is no endpoint: give its URL, such as https://s3.example.org":
        "{0} はエンドポイントではありません。https://s3.example.org のような URL を書いてください",
    "volume {} does not answer: {} calls hang": "ボリューム {0} が応答しません (止まったままの呼び出し {1})",
    "volume {} is too slow: {} calls wait": "ボリューム {0} が遅すぎます (待っている呼び出し {1})",
    "volume {} is offline: {}": "ボリューム {0} はオフラインです: {1}",
    "volume {} is suspect: {}": "ボリューム {0} に異常の疑いがあります: {1}",
    "volume {} is {}: {}": "ボリューム {0} は{1}です: {2}",
    "{} cannot be read: {}: what is there has to belong to the user of the server (chown -R)":
        "{0} を読めません ({1})。そこにあるものは、サーバの利用者のものでなければなりません (chown -R)",
    # backups
    "the run {} was broken off and cannot be used; pacs backup list shows the others":
        "バックアップ {0} は途中で切れていて使えません。ほかは pacs backup list で確認できます",
    "the backup has schema {} of a newer release: install {}":
        "バックアップのスキーマ {0} は新しい版のものです。{1} を入れてください",
    "{} on {} is not what was backed up; use another run": "{1} の {0} はバックアップしたものと違います。別の回を使ってください",
}  # fmt: skip
