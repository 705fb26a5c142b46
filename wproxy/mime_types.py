"""The types of file name extensions, for `mime_types complete`: what browsers and their servers use today.

Registered types where they exist (IANA media types), JavaScript and XML by the names that RFC 9239 and RFC 7303 give them,
otherwise the type that is generally sent. One line per type: the type, its extensions.
"""

from __future__ import annotations

_TABLE = """
text/html html htm shtml
text/css css
text/xml xml xsl xsd rng
text/plain txt text log conf ini asc diff patch
text/csv csv
text/tab-separated-values tsv
text/markdown md markdown
text/calendar ics ifb
text/vcard vcf vcard
text/javascript js mjs
text/cache-manifest appcache
text/mathml mml
text/vnd.sun.j2me.app-descriptor jad
text/vnd.wap.wml wml
text/vtt vtt
text/x-component htc
text/rtf rtx
text/troff roff t tr man me ms
image/avif avif avifs
image/apng apng
image/bmp bmp
image/gif gif
image/heic heic
image/heif heif
image/jpeg jpeg jpg jpe jfif
image/jxl jxl
image/jp2 jp2 jpg2
image/png png
image/svg+xml svg svgz
image/tiff tif tiff
image/vnd.adobe.photoshop psd
image/vnd.djvu djvu djv
image/vnd.wap.wbmp wbmp
image/webp webp
image/x-icon ico cur
image/x-jng jng
image/x-portable-anymap pnm
image/x-portable-bitmap pbm
image/x-portable-graymap pgm
image/x-portable-pixmap ppm
image/x-xbitmap xbm
image/x-xpixmap xpm
font/collection ttc
font/otf otf
font/ttf ttf
font/woff woff
font/woff2 woff2
application/vnd.ms-fontobject eot
application/wasm wasm
application/json json map topojson
application/ld+json jsonld
application/geo+json geojson
application/manifest+json webmanifest
application/json5 json5
application/x-ndjson ndjson jsonl
application/yaml yaml yml
application/toml toml
application/sql sql
application/graphql graphql gql
application/atom+xml atom
application/rss+xml rss
application/rdf+xml rdf
application/xhtml+xml xhtml xht
application/xslt+xml xslt
application/xml-dtd dtd
application/soap+xml soap
application/gpx+xml gpx
application/xspf+xml xspf
application/vnd.google-earth.kml+xml kml
application/vnd.google-earth.kmz kmz
application/vnd.apple.mpegurl m3u8
application/dash+xml mpd
application/java-archive jar war ear
application/x-java-archive-diff jardiff
application/x-java-jnlp-file jnlp
application/java-vm class
application/mac-binhex40 hqx
application/msword doc dot
application/pdf pdf
application/postscript ps eps ai
application/rtf rtf
application/epub+zip epub
application/x-mobipocket-ebook mobi prc
application/vnd.amazon.ebook azw
application/vnd.ms-excel xls xlt xla
application/vnd.ms-powerpoint ppt pps pot
application/vnd.ms-outlook msg
application/vnd.ms-cab-compressed cab
application/vnd.ms-htmlhelp chm
application/vnd.visio vsd
application/vnd.oasis.opendocument.graphics odg
application/vnd.oasis.opendocument.presentation odp
application/vnd.oasis.opendocument.spreadsheet ods
application/vnd.oasis.opendocument.text odt
application/vnd.openxmlformats-officedocument.presentationml.presentation pptx
application/vnd.openxmlformats-officedocument.presentationml.slideshow ppsx
application/vnd.openxmlformats-officedocument.spreadsheetml.sheet xlsx
application/vnd.openxmlformats-officedocument.spreadsheetml.template xltx
application/vnd.openxmlformats-officedocument.wordprocessingml.document docx
application/vnd.openxmlformats-officedocument.wordprocessingml.template dotx
application/vnd.wap.wmlc wmlc
application/vnd.android.package-archive apk
application/vnd.apple.installer+xml mpkg
application/vnd.apple.keynote key
application/vnd.apple.numbers numbers
application/vnd.apple.pages pages
application/vnd.apple.pkpass pkpass
application/vnd.sqlite3 sqlite sqlite3 db
application/vnd.debian.binary-package deb
application/x-rpm rpm
application/x-redhat-package-manager rpa
application/vnd.rar rar
application/zip zip
application/gzip gz tgz
application/x-bzip2 bz2 tbz2
application/x-xz xz txz
application/zstd zst
application/x-br br
application/x-lzma lzma
application/x-7z-compressed 7z
application/x-tar tar
application/x-cpio cpio
application/x-iso9660-image iso
application/x-apple-diskimage dmg
application/x-cocoa cco
application/x-makeself run
application/x-msdownload exe dll
application/x-msi msi msp msm
application/x-bittorrent torrent
application/x-perl pl pm
application/x-python-code pyc
application/x-pilot pdb
application/x-sea sea
application/x-sh sh
application/x-shockwave-flash swf
application/x-stuffit sit
application/x-tcl tcl tk
application/x-tex tex latex
application/x-texinfo texinfo texi
application/x-x509-ca-cert der pem crt
application/pkix-cert cer
application/pkix-crl crl
application/pkcs8 p8
application/pkcs10 p10
application/x-pkcs12 p12 pfx
application/pgp-signature sig
application/pgp-encrypted pgp
application/x-xpinstall xpi
application/x-chrome-extension crx
application/x-web-app-manifest+json webapp
application/mbox mbox
application/octet-stream bin img deploy lha lzh so o a
message/rfc822 eml mht mhtml
model/gltf+json gltf
model/gltf-binary glb
model/obj obj
model/mtl mtl
model/stl stl
model/3mf 3mf
model/vnd.usdz+zip usdz
audio/aac aac
audio/ac3 ac3
audio/aiff aif aiff aifc
audio/basic au snd
audio/flac flac
audio/midi mid midi kar
audio/mp4 m4a f4a f4b
audio/mpeg mp3 mp2 mpga
audio/mpegurl m3u
audio/ogg ogg oga spx
audio/opus opus
audio/wav wav
audio/webm weba
audio/x-matroska mka
audio/x-ms-wma wma
audio/x-realaudio ra
audio/amr amr
video/3gpp 3gpp 3gp
video/3gpp2 3g2
video/iso.segment m4s
video/mp2t ts m2ts mts
video/mp4 mp4 m4v f4v f4p
video/mpeg mpeg mpg mpe
video/ogg ogv
video/quicktime mov qt
video/webm webm
video/x-flv flv
video/x-matroska mkv mk3d mks
video/x-mng mng
video/x-ms-asf asf asx
video/x-ms-wmv wmv
video/x-msvideo avi
"""

# Keyed by extension, lower case.
COMPLETE_TYPES = {
    extension: kind for kind, *extensions in map(str.split, _TABLE.strip().splitlines()) for extension in extensions
}
