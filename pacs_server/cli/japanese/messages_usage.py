"""What is wrong with a command line, in Japanese: what the library that reads it says, in its present and its former
words, and what commands refuse by themselves.
"""

from __future__ import annotations

from typing import Final

OF_THE_LIBRARY: Final[dict[str, str]] = {
    "Missing argument '{}'. Choose from:{}": "引数 '{0}' がありません。次から選んでください:{1}",
    "Missing argument '{}'.": "引数 '{0}' がありません。",
    "Missing option '{}'. Choose from:{}": "オプション '{0}' がありません。次から選んでください:{1}",
    "Missing option '{}'.": "オプション '{0}' がありません。",
    "Missing command.": "コマンドがありません。",
    "No such option: {}": "オプション {0} はありません。",
    "No such option: {} Did you mean {}?": "オプション {0} はありません。{1} のことですか。",
    "No such option '{}'.": "オプション '{0}' はありません。",
    "No such option '{}'. Did you mean {}?": "オプション '{0}' はありません。{1} のことですか。",
    "No such option '{}'. (Did you mean one of: {}?)": "オプション '{0}' はありません。次のどれかのことですか: {1}",
    "No such command '{}'.": "コマンド '{0}' はありません。",
    "No such command '{}'. Did you mean {}?": "コマンド '{0}' はありません。{1} のことですか。",
    "No such command '{}'. (Did you mean one of: {}?)": "コマンド '{0}' はありません。次のどれかのことですか: {1}",
    "Got unexpected extra argument ({})": "余分な引数があります ({0})",
    "Got unexpected extra arguments ({})": "余分な引数があります ({0})",
    "Option '{}' requires an argument.": "オプション '{0}' には値が必要です。",
    "Option '{}' does not take a value.": "オプション '{0}' に値は付けられません。",
    "Invalid value for {}: {}": "{0} の値が正しくありません: {1}",
    "Invalid value: {}": "値が正しくありません: {0}",
    # the parts of a page of help
    "Usage: ": "使い方: ",
    "Options": "オプション",
    "Commands": "コマンド",
    "Example": "例",
    "required": "必須",
    "default: {}": "初期値: {0}",
    "default: (PACS_DATA, else ./pacs-data)": "初期値: PACS_DATA、なければ ./pacs-data",
}  # fmt: skip

# What stands behind "Invalid value"; its sentences end in a full stop, which ours do not.
CAUSES_OF_THE_LIBRARY: Final[dict[str, str]] = {
    "{} is not one of {}.": "{0} は {1} のどれでもありません。",
    "'{}' is not '{}'.": "'{0}' は '{1}' ではありません。",
    "{} is not a valid integer.": "{0} は整数ではありません。",
    "{} is not a valid integer range.": "{0} は整数ではありません。",
    "{} is not a valid float range.": "{0} は数ではありません。",
    "{} is not in the range {}.": "{0} は {1} の範囲にありません。",
    "{} does not match the format {}.": "{0} は {1} の形ではありません。",
    "{} does not match the formats {}.": "{0} は {1} のどの形でもありません。",
    "File {} does not exist.": "ファイル {0} はありません。",
    "Directory {} does not exist.": "ディレクトリ {0} はありません。",
    "Path {} does not exist.": "{0} はありません。",
    "File {} is a directory.": "{0} はディレクトリです。",
    "Directory {} is a file.": "{0} はファイルです。",
}  # fmt: skip

OF_USAGE: Final[dict[str, str]] = {
    "nothing to change: name at least one option": "変更するものがありません。オプションを一つ以上指定してください",
    "nothing to change was given": "変更するものが指定されていません",
    "'{}' is not KEY=VALUE, like PatientID=1234 or StudyDate=20260101-":
        "'{0}' は PatientID=1234 や StudyDate=20260101- のような KEY=VALUE の形ではありません",
    "{} is given twice": "{0} が二度指定されています",
    "--survive and --layout are about this archive, not about a peer":
        "--survive と --layout はこのアーカイブについてのもので、接続相手には使えません",
    "--no-store and --send-back go with the AE title of a peer":
        "--no-store と --send-back には、接続相手の AE タイトルが必要です",
    "--layout goes with --survive": "--layout は --survive と一緒に使います",
    "--{} is empty and was not taken; to restrict nothing, say --{} {}":
        "--{0} が空のため、変更しませんでした。制限しないのなら --{1} {2} としてください",
    "host and port go together: both given, or '-' for both":
        "ホストとポートは両方とも指定するか、両方とも '-' としてください",
    "it has no address: name one with --from, else it could never call":
        "アドレスがありません。--from で指定しないと、その相手は接続できません",
    "--since and StudyDate both say from which day on: give one of them, like StudyDate=20260101-":
        "--since と StudyDate はどちらも、いつからかを表します。StudyDate=20260101- のように、片方だけを指定してください",
    "KEY=VALUE, --thorough and --fetch are for the comparison with another archive: give --with AET":
        "KEY=VALUE、--thorough、--fetch は別のアーカイブとの比較に使います。--with AET を付けてください",
    "--repair fetches and sends, --fetch only fetches: give one of them":
        "--repair は取り寄せと送信、--fetch は取り寄せだけです。どちらか片方を指定してください",
    "give at least one of --want, --need and --degraded": "--want、--need、--degraded のどれかを指定してください",
    "give at least one of --purge, --grace-days and --keep-days":
        "--purge、--grace-days、--keep-days のどれかを指定してください",
}  # fmt: skip

# What a value may be: behind "Invalid value" too.
WHY_A_VALUE: Final[dict[str, str]] = {
    "'{}' is no text in {}: write it so, or set LANG to what the terminal writes":
        "'{0}' は {1} の文字列ではありません。{1} で入力するか、端末の文字コードに LANG を合わせてください",
    "it is empty": "空です",
    "a name is up to 32 letters, digits, '-', '_' and '.'":
        "名前は英数字と '-'、'_'、'.' で 32 文字までです",
    "'{}' has {} in it, which other systems' configuration cannot hold":
        "'{0}' には、ほかのシステムの設定に書けない {1} が入っています",
    "'{}' is not a port: a number from 1 to 65535, or '-'": "'{0}' はポートではありません。1 から 65535 までの数か '-' です",
    "'{}' is not a right; offered are {}": "'{0}' という操作はありません。使えるのは {1} です",
    "'{}' is no identity; offered are {}": "'{0}' という利用者の確認はありません。使えるのは {1} です",
    "'{}' is no SHA-256 fingerprint: 64 hexadecimal digits, as pacs tls show prints them":
        "'{0}' は SHA-256 のフィンガープリントではありません。pacs tls show が示す 16 進数 64 桁です",
    "'{}' is neither yes nor no": "'{0}' は yes でも no でもありません",
    "'{}' is not a transfer syntax to send in; offered are {}, '-'":
        "'{0}' では送信できません。使える転送構文は {1}、'-' です",
    "'{}' is not a defined term of Specific Character Set, like ISO_IR 192":
        "'{0}' は ISO_IR 192 のような Specific Character Set の値ではありません",
    "'{}' is not a defined term of Specific Character Set; write {}":
        "'{0}' は Specific Character Set の値ではありません。{1} と書いてください",
    "'{}' is not a number of associations: from 1 to {}": "'{0}' はアソシエーションの数ではありません。1 から {1} までです",
    "'{}' is not a number of associations: from 0 to {}": "'{0}' はアソシエーションの数ではありません。0 から {1} までです",
}  # fmt: skip
