"""The help of the commands in Japanese, by the English text, whose spaces and line ends count as one space."""

from __future__ import annotations

from typing import Final

from pacs_server.cli.japanese.help_peers import PEERS
from pacs_server.cli.japanese.help_sending import SENDING
from pacs_server.cli.japanese.help_sites import SITES
from pacs_server.cli.japanese.help_users import USERS
from pacs_server.cli.japanese.help_volumes import VOLUMES

HELP: Final[dict[str, str]] = {
    **PEERS,
    **SENDING,
    **SITES,
    **USERS,
    **VOLUMES,
    "A DICOM archive: what it acknowledges, it keeps. Start with: pacs init, pacs serve, pacs ae add.":
        "DICOM 画像保管サーバ。「成功」と応答したものは必ず残します。最初に使うコマンド: pacs init、pacs serve、pacs ae add",
    "Show the version and exit.": "バージョンを表示して終了します。",
    "Show this message and exit.": "この説明を表示して終了します。",
    "Settings file; else PACS_CONFIG, else pacs.yaml in PACS_DATA, in ./pacs-data or in /etc/pacs.":
        "設定ファイル。省略時は PACS_CONFIG、次に PACS_DATA・./pacs-data・/etc/pacs の pacs.yaml。",
    "Print JSON instead of a table.": "表の代わりに JSON で出力します。",
    "Make a new archive: settings file, database and a first volume. Where the --database is that of an archive, this "
    "becomes one more node of it: it uses its volumes, and adds none.":
        "新しいアーカイブを作ります。設定ファイル、データベース、最初のボリュームができます。--database がすでにアーカイブのものなら、"
        "そのアーカイブのノードになります。ボリュームはそのものを使い、追加しません。",
    "Directory of the archive; made if it is missing.": "アーカイブのディレクトリ。なければ作ります。",
    "AE title of the archive.": "アーカイブの AE タイトル。",
    "Address to listen on; 0.0.0.0 is every one.": "待ち受けるアドレス。0.0.0.0 はすべてのアドレス。",
    "Port to listen on.": "待ち受けるポート。",
    "postgresql://... for production; else SQLite in the directory.":
        "本番では postgresql://...。省略時はディレクトリ内の SQLite。",
    "Run the archive in the foreground. SIGTERM lets running work end; SIGHUP reads the log settings again, and no others. "
    "A SQLite database of an older release is copied beside itself and then upgraded. A PostgreSQL database is not: run pacs db upgrade.":
        "アーカイブをフォアグラウンドで動かします。SIGTERM で処理中の作業を終えてから停止し、SIGHUP でログの設定だけを読み直します。"
        "古い版の SQLite は隣に写しを取ってから更新します。PostgreSQL は更新しません。pacs db upgrade を実行してください。",
    "Show the server, the volumes, what is held and what is owed. Ends with 13 when no server runs.":
        "サーバ、ボリューム、保管量、未処理の作業を表示します。サーバが動いていなければ終了コードは 13 です。",
    "Try every loss of N servers, databases and volumes: which first loses data, or ends service.":
        "サーバ、データベース、ボリュームのうち N 個を同時に失う場合をすべて試し、データを失うもの、サービスが止まるものを示します。",
    "With --survive: of a site as this file describes it, not of this one.":
        "--survive とともに。このアーカイブではなく、このファイルに書かれた構成について調べます。",
    "Check and show the settings file.": "設定ファイルを確認・表示します。",
    "Read the settings file and name every problem with its place. Files and programs that it names have to be there.":
        "設定ファイルを読み、問題をすべて、その場所とともに示します。設定に書かれたファイルとプログラムがあることも確かめます。",
    "Show every setting with the value that applies. Passwords are not shown.":
        "すべての設定と有効な値を表示します。パスワードは表示しません。",
    "Also show where each value comes from.": "それぞれの値がどこから来たかも表示します。",
    "Also change what is there already.": "すでにあるものも変更します。",
    "Do it. Without this, only say what would be done.": "実行します。指定しなければ、何をするかを示すだけです。",
    "Find patients, studies, series or instances. KEY is a DICOM keyword; VALUE is matched as in C-FIND: * and ? in text, "
    "20260101-20260131 for dates, UIDs joined by a backslash. ProcedureCodeSequence.CodeValue is a keyword of the items of "
    "a sequence. Long texts are cut; --json has them whole.":
        "患者、検査、シリーズ、インスタンスを検索します。KEY は DICOM のキーワード、VALUE は C-FIND と同じ照合です。文字列では"
        " * と ?、日付は 20260101-20260131、UID はバックスラッシュで区切ります。シーケンスの項目は"
        " ProcedureCodeSequence.CodeValue のように書きます。長い文は切り詰めます。--json では全文を表示します。",
    "Show at most N.": "最大 N 件を表示します。",
    "Show everything that is held of one entity.": "一つの対象について、保管しているものをすべて表示します。",
    "Show a study, also one that was purged. Its series, objects, copies, versions, flags, hold and history.":
        "検査を表示します。完全に消去した検査の履歴も見られます。シリーズ、オブジェクト、コピー、版、印、保留、履歴を示します。",
    "Take in DICOM files and folders. The files stay where they are; what is held already is not stored twice. Without "
    "--json only the files that were not taken, or that had something remarkable, are listed.":
        "DICOM ファイルやフォルダを取り込みます。元のファイルはそのまま残り、すでに保管しているものは二重に保管しません。"
        "--json がなければ、取り込まなかったファイルと、特記事項のあるファイルだけを表示します。",
    "Write objects to files, byte for byte as they were received. KEY is a DICOM keyword, matched as in pacs find; a study "
    "is written whole unless a key is of its series or objects. Without --json only the objects that could not be written "
    "are listed.":
        "オブジェクトを受信したままの内容でファイルに書き出します。KEY は DICOM のキーワードで、照合は pacs find と同じです。"
        "シリーズやオブジェクトの KEY がなければ検査全体を書き出します。--json がなければ、書き出せなかったものだけを表示します。",
    "Folder for STUDY/SERIES/OBJECT.dcm; made if it is missing. No file there is overwritten.":
        "STUDY/SERIES/OBJECT.dcm を置くフォルダ。なければ作ります。既存のファイルは上書きしません。",
    "As a medium for others: DICOM/ST000001/SE000001/IM000001 and a DICOMDIR, in a folder that has none.":
        "他施設に渡す媒体の形 (DICOM/ST000001/SE000001/IM000001 と DICOMDIR) で、まだ何もないフォルダに書き出します。",
    "Show what is owed, and let it wait or be tried.": "未処理の作業を表示し、保留や再試行をします。",
    "List the jobs, those that are due first.": "作業の一覧を、先に行うものから表示します。",
    "Show one job.": "作業を一つ表示します。",
    "Have jobs tried at once. One that is under way is tried again at once if that attempt fails.":
        "作業をすぐに試します。実行中の作業は、その試みが失敗したらすぐにもう一度試します。",
    "Every job that is not paused.": "一時停止していないすべての作業。",
    "Let jobs wait until they are resumed.": "再開するまで作業を保留します。",
    "Every job of this kind, later ones too.": "この種類のすべての作業。後から生じるものも含みます。",
    "Let paused jobs go on.": "保留した作業を再開します。",
    "Every job of this kind.": "この種類のすべての作業。",
    "Forget jobs. What they would have done stays undone.": "作業を取り消します。行うはずだったことは行われません。",
    "Read every copy and compare it with what was received. Damaged copies are put aside and replaced from a good one. "
    "Interrupted, it goes on where it was when it is run again. Ends with 12 when damage is left that cannot be repaired, "
    "with 3 when a volume or a copy could not be read now.":
        "すべてのコピーを読み、受信した内容と比べます。破損したコピーは退避し、正しいコピーから作り直します。中断しても、"
        "次の実行で続きから始めます。直せない破損が残れば終了コードは 12、今は読めないボリュームやコピーがあれば 3 です。",
    "Only this volume; may be given again.": "このボリュームだけ。繰り返し指定できます。",
    "Read no faster than this.": "これより速くは読みません。",
    "Compare files with rows, in both directions; or this archive with another. Changes nothing without --repair or "
    "--fetch. Files of the last 15 minutes are not looked at: they may be on their way in. Ends with 12 when objects are missing or damaged, "
    "with 3 when a volume or a file could not be read, or what is unfinished not be removed. The last row of a lost object is never removed. With --with, a "
    "registered peer is asked for its studies, month by month, narrowed by KEY=VALUE of patients and studies; where counts "
    "differ, for each series and object. Ends with 3 when a difference is left. What was deleted here is told, and never "
    "fetched.":
        "ファイルとインデックスを双方向に、または別のアーカイブと照合します。--repair か --fetch がなければ何も変えません。"
        "直近 15 分のファイルは書き込み中かもしれないため見ません。オブジェクトが"
        "失われているか破損していれば終了コードは 12、読めないボリュームやファイル、または消せない書きかけのファイルがあれば 3 です。失われたオブジェクトの最後の行は決して消しません。--with を付けると、"
        "登録済みの相手に検査を月ごとに問い合わせます。患者と検査の KEY=VALUE で絞れます。件数が違えばシリーズごと、"
        "オブジェクトごとに調べます。違いが残れば終了コードは 3 です。ここで削除したものは示すだけで、取り寄せません。",
    "Only studies that began to arrive on this day (UTC) or later; with --with, that were made then or later.":
        "この日(UTC)以降に届き始めた検査だけ。--with とともに使うと、この日以降に行われた検査だけ。",
    "With --with, ask for every object, also where the counts agree.":
        "--with とともに使うと、件数が一致していてもオブジェクトを一つずつ確かめます。",
    "With --with, only fetch what is missing here: nothing is sent there.":
        "--with とともに使うと、ここにないものを取り寄せるだけで、相手には何も送りません。",
    "Compare with this archive, not with files.": "ファイルではなく、このアーカイブと照合します。",
    "Adopt files that no row knows; drop the row of a copy that is gone; remove what is unfinished since an hour. "
    "With --with, fetch what is missing here, and have sent what is missing there.":
        "行のないファイルを取り込み、なくなったコピーの行を消し、一時間以上未完のファイルを消します。"
        "--with とともに使うと、ここにないものを取り寄せ、相手にないものを送らせます。",
    "Back up the archive, and see whether a backup is whole.": "アーカイブをバックアップし、正しく読めるかを確かめます。",
    "Back up the archive as it is at one moment. That is its index, its settings, its operations, a list of all "
    "objects, and the certificates and keys of its tls directory: keep DIR as secret as the server. The server may keep "
    "running. Nothing in DIR is ever removed. Interrupted, it goes on with the objects that are not there yet when it is "
    "run again. Password files are not copied. Before an upgrade, back up with the former release: a new one backs up no "
    "database that is not upgraded yet. Lists the objects that could not be read, and ends with 3 if there are any.":
        "ある時点のアーカイブをバックアップします。インデックス、設定、操作の記録、全オブジェクトの一覧、tls ディレクトリの証明書と鍵です。DIR は"
        "サーバと同じように秘密にしてください。サーバは動かしたままでかまいません。"
        "DIR にあるものは決して消しません。中断しても、次の実行で、まだないオブジェクトから続けます。パスワードのファイルは"
        "写しません。版を更新するときは、先に元の版でバックアップしてください。新しい版は、まだ更新していないデータベースをバックアップしません。"
        "読めなかったオブジェクトを表示し、あれば終了コードは 3 です。",
    "Where backups are kept; made if it is missing.": "バックアップを置くディレクトリ。なければ作ります。",
    "Also every object that is not there yet.": "まだそこにないオブジェクトもすべて写します。",
    "Begin on another disk at a place where there was a backup.":
        "以前バックアップがあった場所で、別のディスクに新しく始めます。",
    "Read a whole backup and compare it with what was backed up. A backup that was not verified says so when it is listed "
    "or restored. Works without an archive. Lists what is damaged, and ends with 12 if anything is. The next pacs backup "
    "run --objects replaces damaged objects.":
        "バックアップをすべて読み、書いたときの内容と比べます。確かめていないバックアップは、一覧や復元のときにそう示します。"
        "アーカイブがなくても使えます。破損したものを表示し、あれば終了コードは 12 です。破損したオブジェクトは、次の"
        " pacs backup run --objects が置き換えます。",
    "Not the newest that is complete, but this one.": "完了した最新のものではなく、これを使います。",
    "List the runs in a directory, and when each was verified. Works without an archive.":
        "ディレクトリ内のバックアップと、それぞれを確かめた日時の一覧を表示します。アーカイブがなくても使えます。",
    "Bring the archive back from a backup. Its index takes the place of that of the settings file, which stays as it is. "
    "Volumes that are there are kept; objects that no volume has, and certificates that are missing, are copied back from "
    "DIR. No server may be running. Interrupted, it goes on when it is run again. Without --yes lists what becomes of the volumes. With it, lists the "
    "objects that DIR does not hold either, and ends with 12 if there are any.":
        "バックアップからアーカイブを復元します。設定ファイルはそのままで、そのインデックスを入れ替えます。残っているボリュームは"
        "そのまま使い、どのボリュームにもないオブジェクトと、なくなった証明書を DIR から写し戻します。サーバを止めてから実行してください。"
        "中断しても、次の実行で続きから始めます。--yes がなければ、ボリュームがどうなるかを表示します。--yes を付けると、"
        "DIR にもないオブジェクトを表示し、あれば終了コードは 12 です。",
    "Work on the index as a whole.": "インデックス全体を扱います。",
    "Make the index anew from the files of all volumes. It is made beside the present one, and then they are swapped. "
    "Interrupted, it goes on where it was when it is run again. The server may keep running.":
        "すべてのボリュームのファイルからインデックスを作り直します。現在のものの隣に作り、最後に入れ替えます。中断しても、"
        "次の実行で続きから始めます。サーバは動かしたままでかまいません。",
    "Add attributes to those that the index holds, and remove them.": "インデックスが持つ属性を追加し、外します。",
    "Add an attribute, to be asked for and answered in queries. KEYWORD is that of the DICOM dictionary, a tag like "
    "0018,0010, or a private element with its creator, like 0019xx18:GEMS_ACQU_01. What arrives from now on has it at "
    "once. The running server reads it from the files that are here already, and matches keys on it when it is through.":
        "検索と応答に使う属性を追加します。KEYWORD は DICOM 辞書のキーワード、0018,0010 のようなタグ、または"
        " 0019xx18:GEMS_ACQU_01 のような作成者付きの私的要素です。これから届くものにはすぐ有効になります。すでにある"
        "ファイルからは動いているサーバが読み取り、読み終えてから照合に使います。",
    "Whose attribute it is.": "どの階層の属性か。",
    "Its value representation, where the dictionary does not know it.": "値表現(VR)。辞書にないときに指定します。",
    "List what was added, and how far it is read from the files.": "追加した属性と、ファイルの読み取りの進み具合を表示します。",
    "Remove an attribute that was added. The files keep it.": "追加した属性を外します。ファイルには残ります。",
    "Look at the schema of the database, upgrade it, check or copy the database.":
        "データベースのスキーマを確認・更新し、データベースを点検し、別のデータベースへ写します。",
    "Check the database, and say what to do. That it answers, is of a kind that will do, has the schema of this release and "
    "its very tables, can be written to; and that SQLite's file is whole, which reads all of it. Changes nothing; the server "
    "may keep running. Ends with 13 when it cannot be reached or written to, 10 when its kind will not do, 12 when tables or "
    "contents are damaged, 11 when its schema is another.":
        "データベースを点検し、対処を示します。応答すること、使える種類であること、スキーマがこの版のもので表もその通りであること、書き込めること。"
        "SQLite では、ファイル全体を読んで壊れていないことも確かめます。何も変えません。サーバは動かしたままでかまいません。"
        "終了コードは、つながらないか書き込めなければ 13、使えない種類なら 10、表や内容が壊れていれば 12、スキーマがこの版のものでなければ 11 です。",
    "Show the schema of the database and the one this release needs.":
        "データベースのスキーマと、この版が必要とするスキーマを表示します。",
    "Bring the schema up to date. A SQLite file is copied beside itself first; PostgreSQL is not: back up before, with the "
    "former release. No server may be running. Ends with 12 when the tables are not those of this release even so.":
        "スキーマを更新します。SQLite は先に隣へ写しを取ります。PostgreSQL は写しを取りません。先に、元の版でバックアップしてください。"
        "サーバを止めてから実行してください。それでも表がこの版のものでなければ終了コードは 12 です。",
    "Begin anew with an empty database, where that of old is lost.":
        "失われたデータベースの代わりに、空のものから始めます。",
    "Copy the database from SQLite to PostgreSQL, or back. Every table is read again there and compared before anything "
    "counts; broken off, nothing is left, and it begins anew. A database that holds the same already is only compared. No "
    "server may be running. The archive uses the copy when the settings file names it.":
        "データベースを SQLite から PostgreSQL へ(またはその逆に)写します。すべての表を写した先で読み直し、比べ終えてから"
        "確定します。中断すると何も残らず、次は最初からになります。すでに同じ内容のデータベースは比べるだけです。サーバを"
        "止めてから実行してください。設定ファイルに書くと、アーカイブは写したほうを使います。",
    "An empty database, like postgresql://USER@HOST/NAME.": "空のデータベース。例: postgresql://USER@HOST/NAME",
    "A file with the password of that user; not readable by others.":
        "その利用者のパスワードを書いたファイル。ほかの利用者が読めないこと。",
    "Put objects into the trash. They are found no more; nothing of them is destroyed, and pacs restore brings them back. "
    "Keys are those of pacs find instances. A study on hold is refused.":
        "オブジェクトをごみ箱に移します。検索では見つからなくなりますが、何も消去されず、pacs restore で戻せます。"
        "キーは pacs find instances と同じです。保留中の検査は拒否します。",
    "Why; it stays in the history.": "理由。履歴に残ります。",
    "Bring objects back from the trash. Keys are those of pacs find instances.":
        "オブジェクトをごみ箱から戻します。キーは pacs find instances と同じです。",
    "Destroy what is in the trash, for ever. Only what was there as long as pacs retention says, whose study is old enough "
    "and is not on hold. Off until pacs retention set --purge allows it. A tombstone stays, so that no volume that was "
    "away brings it back.":
        "ごみ箱の中身を完全に消去します。pacs retention の日数を過ぎ、検査が十分古く、保留中でないものだけです。"
        "pacs retention set --purge で許可するまでは何も消しません。墓標が残るため、離れていたボリュームから戻ることはありません。",
    "Show what was deleted and can be brought back.": "削除されたもの（戻せるもの）を表示します。",
    "List what is in the trash, by study. When, by whom and why it was deleted.":
        "ごみ箱に入っている検査の一覧を、いつ、だれが、なぜ削除したかとともに表示します。",
    "Keep studies from being deleted.": "検査が削除されないように保留します。",
    "Put studies on hold. They can be neither deleted nor purged, and what of them is in the trash comes back.":
        "検査を保留にします。削除も消去もできなくなり、ごみ箱にある分は戻ります。",
    "End the hold of studies.": "検査の保留を解きます。",
    "List the studies on hold. Since when, by whom and why.":
        "保留中の検査の一覧を、いつから、だれが、なぜとともに表示します。",
    "Decide how long things stay in the trash, and are kept.": "ごみ箱と保管の期間を決めます。",
    "Show what the site decided.": "この施設の決まりを表示します。",
    "Decide; what is not given stays. A running server follows at once.":
        "決まりを変えます。指定しない項目は変わりません。動いているサーバにもすぐ反映されます。",
    "Whether the trash is emptied: never, by pacs purge, or by the running server as well.":
        "ごみ箱を空にするか。never はしない、by-hand は pacs purge で、nightly は動いているサーバが夜間にも行う。",
    "How long what was deleted stays in the trash.": "削除したものをごみ箱に置く日数。",
    "How old a study has to be before it is destroyed.": "消去してよい検査の古さ（日数）。",
    "Choose between contents that came under one UID.": "同じ UID で届いた異なる内容から選びます。",
    "Make one content the current one. It is found and sent, the others are kept. DIGEST is what pacs conflicts show "
    "prints, or its beginning. Choosing the other one again reverses it. With the UID of a study, and latest as DIGEST: of "
    "each of its objects the content that came last.":
        "一つの内容を現行のものにします。検索と送信にはそれが使われ、ほかも残ります。DIGEST は pacs conflicts show に出るもの、"
        "またはその先頭部分です。もう一方を選び直せば元に戻ります。検査の UID と、DIGEST に latest を指定すると、各オブジェクトで"
        "最後に届いた内容を選びます。",
    "Show what contradicts itself.": "食い違いを表示します。",
    "List what contradicts itself. Other contents under one UID, patients or studies whose values differ.":
        "食い違いの一覧を表示します。同じ UID の異なる内容、値の異なる患者や検査など。",
    "Show the contents between which a person may choose. Of a study, or of one SOP Instance UID. Of a study that "
    "contradicts itself, also the patient whom each series names. Ends with 3 when some of its objects cannot be read now.":
        "選べる内容を表示します。検査の UID か SOP Instance UID を指定します。食い違いのある検査では、シリーズごとに"
        "どの患者のものと書かれているかも表示します。今は読めないオブジェクトがあれば終了コードは 3 です。",
    "Storage Commitment: who vouches for which objects.": "ストレージコミットメント。どのオブジェクトの保管を誰が保証するか。",
    "Ask a peer whether it keeps every object of a study safely. Ends with 3 unless it says so of every one.":
        "検査のすべてのオブジェクトを確かに保管しているか、相手に尋ねます。すべてについて保証されなければ終了コードは 3 です。",
    "The peer that is asked.": "尋ねる相手。",
    "Wait so long for its report; a later one is taken in by the running server.":
        "報告を待つ時間。それより遅い報告は動いているサーバが受け取ります。",
    "List the transactions, the latest first. In: a peer asked us. Out: we asked it.":
        "トランザクションの一覧を新しい順に表示します。in は相手からの依頼、out はこちらからの依頼です。",
    "Show the objects of a transaction that nobody vouches for, and why.":
        "トランザクションのうち保管が保証されないオブジェクトと、その理由を表示します。",
    "With how many at once objects are sent to it. At first: 1.":
        "一度にいくつのアソシエーションで送信するか。初期値は 1。",
    "Show who did what, and check that it is still what was written down.":
        "誰が何をしたかを表示し、書き残したままであることを確かめます。",
    "List who did what, oldest first. What is asked for has to fit together. That somebody looked is written down too. "
    "Long texts are cut; --json has them whole.":
        "誰が何をしたかを古い順に表示します。条件はすべて満たすものに限ります。表示したことも記録されます。長い文は切り詰めます。--json では全文を表示します。",
    "Of the patient with this ID.": "この患者 ID のもの。",
    "By this peer, or sent to it.": "この接続相手によるもの、またはそこへ送ったもの。",
    "By a person or peer whose name has this text in it.": "名前にこの文字を含む人や接続相手によるもの。",
    "From this moment on, in UTC: 2026-01-31 or 2026-01-31T08:00.":
        "この時刻(UTC)以降。2026-01-31 または 2026-01-31T08:00 のように書きます。",
    "Before this moment, in UTC.": "この時刻(UTC)より前。",
    "Only this; may be given again.": "これだけ。繰り返し指定できます。",
    "Check that nothing in the audit trail was edited, removed or put elsewhere. Of every chain the first row that is not "
    "as it was written is named. Checkpoints are compared with those on the volumes. Ends with 12 when something was "
    "changed.":
        "監査記録に書き換え・削除・入れ替えがないことを確かめます。書いたときと違う最初の行を鎖ごとに示します。"
        "チェックポイントはボリュームにあるものと比べます。変更があれば 12 で終わります。",
    "Show the alarms that stand, and try how they are told.": "続いている警報を表示し、知らせる手段を試します。",
    "List the alarms of this node that stand. Ends with 12 when there are some.":
        "このノードで続いている警報の一覧を表示します。あれば終了コードは 12 です。",
    "Send a test alarm by each way that the settings give. Ends with 3 when one of the ways did not take it, and with 13 "
    "when none did.":
        "設定にあるそれぞれの手段で試験の警報を送ります。受け取らない手段があれば終了コードは 3、どれも受け取らなければ 13 です。",
}  # fmt: skip
