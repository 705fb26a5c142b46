<?php
// Tells what it was asked, as JSON; ?do=NAME does one thing more.
$body = file_get_contents('php://input');
$server = array_filter(
    $_SERVER,
    fn ($name) => preg_match('/^(HTTP_|REQUEST_(METHOD|URI|SCHEME)|QUERY_|CONTENT_|SCRIPT_|PATH_|DOCUMENT_|SERVER_|REMOTE_ADDR|HTTPS|GATEWAY_|REDIRECT_|FCGI_|ORIG_|PHP_SELF|X_)/', $name),
    ARRAY_FILTER_USE_KEY
);
ksort($server);
$files = array_map(fn ($file) => [$file['name'], $file['size'], hash_file('sha256', $file['tmp_name'])], $_FILES);
$told = ['server' => $server, 'get' => $_GET, 'post' => $_POST, 'files' => $files, 'size' => strlen($body), 'sha256' => hash('sha256', $body)];

switch ($_GET['do'] ?? '') {
    case 'status':
        header('HTTP/1.1 418 I am a teapot');
        header('X-Custom: a');
        header('Set-Cookie: a=1; path=/', false);
        header('Set-Cookie: b=2; HttpOnly', false);
        break;
    case 'code':
        http_response_code((int) $_GET['code']);
        exit;
    case 'away':
        header('Location: /elsewhere?x=1');
        exit;
    case 'log':
        error_log('something to know');
        fwrite(fopen('php://stderr', 'w'), "written to the standard error\n");
        break;
    case 'fatal':
        undefined_function();
        // no break
    case 'file':
        header('X-Accel-Redirect: /protected/secret.bin');
        header('Content-Disposition: attachment');
        exit;
    case 'big':
        header('Content-Type: application/octet-stream');
        for ($part = 0; $part < 400; $part++) {
            echo str_repeat(sprintf('%08d', $part), 2048);
        }
        exit;
    case 'length':
        header('Content-Length: 5');
        echo 'hello';
        exit;
    case 'stream':
        header('Content-Type: text/plain');
        header('X-Accel-Buffering: no');
        while (ob_get_level()) {
            ob_end_flush();
        }
        for ($line = 0; $line < 4; $line++) {
            while ($line > 0 && !file_exists("{$_GET['gate']}/$line")) {
                usleep(5000);
                clearstatcache();
            }
            echo "line $line\n";
            flush();
        }
        exit;
}
header('Content-Type: application/json');
echo json_encode($told, JSON_UNESCAPED_SLASHES);
