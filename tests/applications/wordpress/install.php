<?php
// php install.php DIRECTORY: what the five-minute installation of WordPress does, with pretty permalinks and one post.
define('WP_INSTALLING', true);
$_SERVER['HTTP_HOST'] = 'wp.test';
$_SERVER['REQUEST_URI'] = '/';
$_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
require $argv[1] . '/wp-load.php';
require ABSPATH . 'wp-admin/includes/upgrade.php';
add_filter('pre_wp_mail', '__return_true');
wp_install('Gallery', 'admin', 'admin@wp.test', true, '', 'secret');
switch_theme('twentytwentythree');
global $wp_rewrite;
$wp_rewrite->set_permalink_structure('/%postname%/');
$wp_rewrite->flush_rules(false);
wp_insert_post(['post_title' => 'Proxied', 'post_content' => 'through the front', 'post_status' => 'publish', 'post_author' => 1]);
echo "installed\n";
